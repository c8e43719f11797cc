// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func parts(list [][]byte) []string {
	var texts []string
	for _, p := range list {
		texts = append(texts, string(p))
	}
	return texts
}

func TestIdentityFollowsWhatIsSigned(t *testing.T) {
	const secret = "c2VjcmV0c2VjcmV0c2VjcmV0"
	body := `{"id":"evt_1","type":"t"}`
	sum := sha256.Sum256([]byte(body))
	for _, c := range []struct {
		preset string
		header map[string]string
		want   []string
	}{
		{"stripe", nil, []string{"evt_1"}},
		{"standard_webhooks", map[string]string{"webhook-id": "msg_1"}, []string{"msg_1"}},
		{
			"github",
			map[string]string{"X-GitHub-Hook-ID": "7", "X-GitHub-Delivery": "guid", "X-GitHub-Event": "push"},
			[]string{"7", "guid", "push", string(sum[:])},
		},
		{
			"github",
			map[string]string{"X-GitHub-Delivery": "guid", "X-GitHub-Event": "push"},
			[]string{"", "guid", "push", string(sum[:])},
		},
		{"github", map[string]string{"X-GitHub-Hook-ID": "7", "X-GitHub-Event": "push"}, nil},
	} {
		v := mustCompile(t, preset(t, c.preset), secret)
		r := post(body)
		for name, value := range c.header {
			r.Header.Set(name, value)
		}
		got, err := v.Verify(signed(t, v, r, "", noon), noon)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(parts(got.Identity), c.want) {
			t.Errorf("%s %v: identity %q, expected %q", c.preset, c.header, got.Identity, c.want)
		}
	}
}

func TestIdentityOfTheUserJoinsTheBodyOnlyWhereUnsigned(t *testing.T) {
	r := post(`{"customer":"c","n":12345678901234567890}`)
	r.Header.Set("X-Id", "1")
	sum := sha256.Sum256(r.Body)
	for _, c := range []struct {
		keys []string
		want []string
	}{
		{[]string{"{http.relay.body.customer}-{http.relay.body.n}"}, []string{"c-12345678901234567890"}},
		{[]string{"{http.relay.body.customer}", "{http.request.header.X-Id}"}, []string{"c", "1", "", string(sum[:])}},
		{[]string{"{http.request.header.X-Other}"}, nil},
		{[]string{"{http.request.body}"}, []string{string(sum[:])}},
		{[]string{"{http.relay.body.customer}", "{http.request.header.X-Other}"}, nil},
		{[]string{"{http.relay.body.absent}"}, nil},
	} {
		s := &Scheme{Identity: c.keys, Proof: Proof{Signature: Signature{Header: "X-Sig"}, Algorithm: HMACSHA256}}
		v := mustCompile(t, s, "secret")
		got, err := v.Verify(signed(t, v, r, "", noon), noon)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(parts(got.Identity), c.want) {
			t.Errorf("%v: identity %q, expected %q", c.keys, got.Identity, c.want)
		}
	}
}

func TestIdentityWithoutAScheme(t *testing.T) {
	r := post(`{"id":"1"}`)
	sum := sha256.Sum256(r.Body)
	for _, c := range []struct {
		keys []string
		want []string
	}{
		{[]string{"{http.relay.body.id}"}, []string{"1", "", string(sum[:])}},
		{nil, []string{"", string(sum[:])}},
		{[]string{"{http.relay.body.id}", "{http.relay.body.no}"}, nil},
	} {
		rule, err := NewIdentity(c.keys...)
		if err != nil {
			t.Fatal(err)
		}
		if got := rule.Parts(r, Fields{}); !slices.Equal(parts(got), c.want) {
			t.Errorf("%v: %q, expected %q", c.keys, got, c.want)
		}
	}
}

func TestVerdictSharesNoMemoryWithTheBody(t *testing.T) {
	v := mustCompile(t, preset(t, "stripe"), "secret")
	for _, body := range []string{`{"id":"evt_1","type":"t"}`, `{"id":"evt_1"}`, `{"type":"t"}`, `{"id":17}`} {
		r := signed(t, v, post(body), "", noon)
		got, err := v.Verify(r, noon)
		if err != nil {
			t.Fatal(err)
		}
		before := fmt.Sprint(got)
		for i := range r.Body {
			r.Body[i] = 'X'
		}
		if after := fmt.Sprint(got); after != before {
			t.Errorf("verdict changed with the body: %s, %s", before, after)
		}
	}
}

// FuzzIdentity is the extractor of dedupe keys: it never panics, and never
// gives an empty or different key for the same request.
func FuzzIdentity(f *testing.F) {
	f.Add([]byte(`{"id":"a","x":[{"y":1}]}`), "id", "v")
	f.Add([]byte("a=b&c=%2"), "x.0.y", "")
	f.Add([]byte(`{"id":{"a`), `a\.b`, "\x00")
	f.Fuzz(func(t *testing.T, body []byte, path, value string) {
		rule, err := NewIdentity("{http.relay.body."+path+"}", "{http.request.header.X-Id}", "{http.relay.form.a}", "{http.request.uri.query."+path+"}")
		if err != nil {
			return
		}
		r := post(string(body))
		r.URL += "&" + value
		r.Header.Set("X-Id", value)
		one, two := rule.Parts(r, Fields{}), rule.Parts(r, Fields{})
		if !slices.Equal(parts(one), parts(two)) {
			t.Fatalf("%q and %q", one, two)
		}
		for i, part := range one[:min(len(one), 4)] {
			if len(part) == 0 {
				t.Fatalf("part %d is empty", i)
			}
		}
	})
}

func TestEventIDIsFitForAHeader(t *testing.T) {
	v := mustCompile(t, preset(t, "stripe"), "secret")
	for _, id := range []string{`a\r\nX-Evil: 1`, strings.Repeat("a", 257), `\u0000`, ``} {
		got, err := v.Verify(signed(t, v, post(`{"id":"`+id+`","type":"`+id+`"}`), "", noon), noon)
		if err != nil || got.EventID != "" || got.Type != "" || got.Identity != nil {
			t.Errorf("%q: %+v %v", id, got, err)
		}
	}
}
