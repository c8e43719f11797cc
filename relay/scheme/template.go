// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"
)

// Template is literal text with placeholders, parsed once and evaluated on the
// raw request. It is the one language of signed texts, timestamps, dedupe keys
// and order keys. The placeholders are Caddy's full names:
//
//	{http.request.method}  {http.request.host}  {http.request.uri}  {http.request.uri.path}
//	{http.request.uri.query.NAME}  {http.request.header.NAME}
//	{http.request.body}  {http.relay.body.PATH}  {http.relay.form.NAME}
//	{http.relay.url}  {http.relay.url.base}
//	{http.relay.event_id}  {http.relay.type}  {http.relay.source}
//
// `\{` and `\}` stand for braces. What the sender put into a value is never
// expanded. PATH is as for [BodyPath]; {http.relay.url} is the public URL, and
// {http.relay.url.base} the same without its query.
type Template struct {
	text  string
	parts []part
}

// part is one literal or one placeholder.
type part struct {
	kind    kind
	literal []byte
	name    string    // of a header, query parameter, form field or signature field
	path    jsonQuery // of a body path
}

type kind uint8

const (
	literalPart kind = iota
	methodPart
	hostPart
	uriPart
	pathPart
	queryPart
	headerPart
	bodyPart
	bodyPathPart
	formPart
	urlPart
	baseURLPart
	eventIDPart
	typePart
	sourcePart
	timestampPart
	signatureFieldPart
	secretPart
	challengePart
	answerPart
	keyIDPart
)

// wholePlaceholders are those without a name of their own to look up.
var wholePlaceholders = map[string]kind{
	"http.request.method":         methodPart,
	"http.request.host":           hostPart,
	"http.request.uri":            uriPart,
	"http.request.uri.path":       pathPart,
	"http.request.body":           bodyPart,
	"http.relay.url":              urlPart,
	"http.relay.url.base":         baseURLPart,
	"http.relay.event_id":         eventIDPart,
	"http.relay.type":             typePart,
	"http.relay.source":           sourcePart,
	"http.relay.timestamp":        timestampPart,
	"http.relay.secret":           secretPart,
	"http.relay.challenge":        challengePart,
	"http.relay.challenge.answer": answerPart,
	"http.relay.key_id":           keyIDPart,
}

var namedPlaceholders = []struct {
	prefix string
	kind   kind
}{
	{"http.request.header.", headerPart},
	{"http.request.uri.query.", queryPart},
	{"http.relay.body.", bodyPathPart},
	{"http.relay.form.", formPart},
	{"http.relay.signature.", signatureFieldPart},
}

// ParseTemplate parses a template. An unknown placeholder or an unclosed brace
// is an error that wraps ErrTemplate and names it.
func ParseTemplate(s string) (*Template, error) {
	t, err := parseTemplate(s)
	if err != nil {
		return nil, err
	}
	if p := t.first(timestampPart, signatureFieldPart, secretPart, challengePart, answerPart, keyIDPart); p != nil {
		return nil, fmt.Errorf("%w: {%s} is known only in the payload, timestamp or handshake of a scheme", ErrTemplate, placeholderName(p))
	}
	return t, nil
}

// parseTemplate also takes what only a signed text can know: the timestamp,
// the fields of the signature header, the secret, and what a handshake knows.
func parseTemplate(s string) (*Template, error) {
	t := &Template{text: s}
	var literal []byte
	flush := func() {
		if len(literal) > 0 {
			t.parts = append(t.parts, part{literal: slices.Clone(literal)})
			literal = literal[:0]
		}
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '{' || s[i+1] == '}'):
			i++
			literal = append(literal, s[i])
		case s[i] == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return nil, fmt.Errorf("%w: %q opens a placeholder and does not close it; write \\{ for a brace", ErrTemplate, s)
			}
			p, err := parsePlaceholder(s[i+1 : i+end])
			if err != nil {
				return nil, err
			}
			flush()
			t.parts = append(t.parts, p)
			i += end
		default:
			literal = append(literal, s[i])
		}
	}
	flush()
	return t, nil
}

func parsePlaceholder(name string) (part, error) {
	if k, ok := wholePlaceholders[name]; ok {
		return part{kind: k}, nil
	}
	for _, known := range namedPlaceholders {
		rest, ok := strings.CutPrefix(name, known.prefix)
		if !ok || rest == "" {
			continue
		}
		p := part{kind: known.kind, name: rest}
		switch known.kind {
		case headerPart:
			p.name = textproto.CanonicalMIMEHeaderKey(rest)
		case bodyPathPart:
			if p.path, ok = bodyQuery(rest); !ok {
				return part{}, fmt.Errorf("%w: {%s} has an empty key in its path", ErrTemplate, name)
			}
		}
		return p, nil
	}
	return part{}, fmt.Errorf("%w: unknown placeholder {%s}", ErrTemplate, name)
}

// String gives the template as it was written.
func (t *Template) String() string { return t.text }

// first returns the first part of one of the kinds, or nil.
func (t *Template) first(kinds ...kind) *part {
	for i := range t.parts {
		if slices.Contains(kinds, t.parts[i].kind) {
			return &t.parts[i]
		}
	}
	return nil
}

// only returns the part of a template that is one placeholder of that kind
// and nothing else, or nil.
func (t *Template) only(k kind) *part {
	if len(t.parts) == 1 && t.parts[0].kind == k {
		return &t.parts[0]
	}
	return nil
}

// placeholderName gives back the full name of a placeholder.
func placeholderName(p *part) string {
	for name, k := range wholePlaceholders {
		if k == p.kind {
			return name
		}
	}
	for _, known := range namedPlaceholders {
		if known.kind == p.kind {
			return known.prefix + p.name
		}
	}
	return string(p.literal)
}
