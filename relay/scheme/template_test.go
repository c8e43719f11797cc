// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func TestTemplateEvaluatesOnTheRawRequest(t *testing.T) {
	r := &Request{
		Method: "POST", Host: "example.com", URL: "https://example.com/a%20b?x=1%202&y=&x2=3&d=1&d=2#f",
		Header: http.Header{"X-A": {"{http.request.body}"}, "X-Two": {"1", "2"}, "X-Empty": {""}},
		Body:   []byte(`{"a":{"b.c":[{"d":"é\u00e9"}, 1.50, true, null, {"k": 1}]}, "e{}": "x", "*": "star", "list": [{"id":"1"},{"id":"2"}], "none": []}`),
	}
	f := Fields{EventID: "evt", Type: "t", Source: "s"}
	for text, want := range map[string]string{
		"literal":                                 "literal",
		`\{x\}{http.request.method}`:              "{x}POST",
		"{http.request.uri}":                      "/a%20b?x=1%202&y=&x2=3&d=1&d=2",
		"{http.request.uri.path}":                 "/a%20b",
		"{http.request.host}":                     "example.com",
		"{http.request.header.host}":              "example.com",
		"{http.request.uri.query.x}":              "1 2",
		"{http.request.uri.query.y}":              "",
		"{http.request.header.x-a}":               "{http.request.body}",
		"{http.request.header.X-Empty}":           "",
		`{http.relay.body.a.b\.c.0.d}`:            "éé",
		`{http.relay.body.a.b\.c.1}`:              "1.50",
		`{http.relay.body.a.b\.c.2}`:              "true",
		`{http.relay.body.a.b\.c.4}`:              `{"k": 1}`,
		`{http.relay.body.\*}`:                    "star",
		"{http.relay.body.list.*.id}":             `["1","2"]`,
		"{http.relay.body.list.*}":                "2",
		"{http.relay.event_id}-{http.relay.type}": "evt-t",
		"{http.relay.source}":                     "s",
		"{http.relay.url}":                        r.URL,
		"{http.relay.url.base}":                   "https://example.com/a%20b",
		"{http.request.body}":                     string(r.Body),
	} {
		tmpl, err := ParseTemplate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, ok := tmpl.Append([]byte(">"), r, f)
		if !ok || string(got) != ">"+want {
			t.Errorf("%s = %q %v, expected %q", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"{http.request.header.X-None}", "{http.request.header.X-Two}", "a{http.relay.body.none}",
		`{http.relay.body.a.b\.c.3}`, `{http.relay.body.a.b\.c.9}`, "{http.request.uri.query.z}", "{http.request.uri.query.d}", "{http.relay.form.a}", "{http.relay.body.#}",
		"{http.relay.body.@this}", "{http.relay.body.none}", "{http.relay.body.none.*.id}", "{http.relay.body.list.*.x}", "{http.relay.body.a|b}", "{http.relay.body.?}",
	} {
		tmpl, err := ParseTemplate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, ok := tmpl.Append([]byte(">"), r, Fields{}); ok || string(got) != ">" {
			t.Errorf("%s = %q, expected nothing", text, got)
		}
	}
}

func TestParseTemplateNamesWhatItDoesNotKnow(t *testing.T) {
	for text, want := range map[string]string{
		"a{body}":                    "{body}",
		"{http.request.header.}":     "{http.request.header.}",
		"{env.SECRET}":               "{env.SECRET}",
		"{http.relay.secret}":        "{http.relay.secret}",
		"{http.relay.timestamp}":     "{http.relay.timestamp}",
		"{http.relay.body.a..b}":     "{http.relay.body.a..b}",
		"{http.request.body":         "does not close it",
		"{}":                         "{}",
		"{http.relay.signature.t}":   "{http.relay.signature.t}",
		"{http.request.cookie.name}": "{http.request.cookie.name}",
	} {
		if _, err := ParseTemplate(text); !errors.Is(err, ErrTemplate) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestBodyPathNeedsJSON(t *testing.T) {
	for _, body := range []string{"", "null", `"id"`, `payload={"id":"1"}`, "17", `<a>{"id":"1"}</a>`} {
		if got, ok := BodyPath([]byte(body), "id"); ok {
			t.Errorf("%s: %q", body, got)
		}
	}
	if got, ok := BodyPath([]byte(" \n[{\"id\":\"1\"}]"), "0.id"); !ok || got != "1" {
		t.Errorf("got %q %v", got, ok)
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("{http.request.body}.{http.relay.body.a}", []byte(`{"a":"{http.request.method}"}`))
	f.Add(`\{a\}{http.relay.form.x}`, []byte("x=1&x=2"))
	f.Fuzz(func(t *testing.T, text string, body []byte) {
		tmpl, err := ParseTemplate(text)
		if err != nil {
			if !errors.Is(err, ErrTemplate) {
				t.Fatal(err)
			}
			return
		}
		got, ok := tmpl.Append(nil, post(string(body)), Fields{})
		if !ok && len(got) > 0 {
			t.Fatal("a value that is missing left something behind")
		}
		if !strings.ContainsAny(text, `{\`) && string(got) != text {
			t.Fatalf("literal %q became %q", text, got)
		}
	})
}

// FuzzBodyPath compares with encoding/json on valid documents without equal keys.
func FuzzBodyPath(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b.c":"x"}]}`), `a.1.b\.c`)
	f.Add([]byte(`{"#":1,"@this":2,"a|b":3,"a*":4,"!":5}`), `@this`)
	f.Add([]byte(`[[1],[2]]`), `1.0`)
	f.Fuzz(func(t *testing.T, body []byte, path string) {
		got, ok := BodyPath(body, path)
		var document any
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.UseNumber()
		if !json.Valid(body) || d.Decode(&document) != nil || strings.Contains(string(body), `\`) || strings.ContainsAny(path, "\\*") {
			return
		}
		if strings.ToValidUTF8(string(body), "") != string(body) {
			return
		}
		want, found := walk(document, strings.Split(path, "."))
		if text, isText := want.(string); found && isText && (!ok || got != text) {
			if strings.Count(string(body), `"`) > 8 {
				return // may hold equal keys, of which the first counts here
			}
			t.Fatalf("%q in %q is %q %v, expected %q", path, body, got, ok, text)
		}
		if !found && ok && got != "" && len(path) < 8 && !strings.Contains(string(body), ":") {
			t.Fatalf("%q in %q is %q, expected nothing", path, body, got)
		}
	})
}

func walk(v any, keys []string) (any, bool) {
	for _, key := range keys {
		switch node := v.(type) {
		case map[string]any:
			next, ok := node[key]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(node) {
				return nil, false
			}
			v = node[i]
		default:
			return nil, false
		}
	}
	return v, v != nil
}
