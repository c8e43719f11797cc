// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// Identity is a rule for what makes two requests the same event, for messages
// that no scheme verifies. A [Verifier] has the rule of its scheme built in.
type Identity struct {
	ids, types, keys []*Template
	alone, body      bool
	named            bool // a key is the event id
}

// NewIdentity makes a rule of key templates. As nothing is signed, the type
// and the SHA-256 of the body join the keys; without a key they are the rule.
func NewIdentity(keys ...string) (*Identity, error) {
	return compileIdentity(&Scheme{Identity: keys, IdentityBody: true})
}

// Parts returns the parts of the dedupe key, or nil if the request lacks one.
func (i *Identity) Parts(r *Request, f Fields) [][]byte {
	return i.parts(r, &f, false)
}

func compileIdentity(s *Scheme) (*Identity, error) {
	i := &Identity{alone: s.IdentityAlone, body: s.IdentityBody}
	keys := s.Identity
	if len(keys) == 0 && len(s.EventID) > 0 && s.Unidentified == "" {
		keys = []string{"{http.relay.event_id}"}
	}
	for _, list := range []struct {
		name  string
		texts []string
		into  *[]*Template
	}{{"event_id", s.EventID, &i.ids}, {"type", s.Type, &i.types}, {"identity", keys, &i.keys}} {
		for _, text := range list.texts {
			t, err := ParseTemplate(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", list.name, err)
			}
			if len(t.parts) == 0 {
				return nil, fmt.Errorf("%w: %s: empty", ErrTemplate, list.name)
			}
			*list.into = append(*list.into, t)
		}
	}
	i.named = slices.ContainsFunc(i.keys, func(t *Template) bool { return t.first(eventIDPart) != nil })
	for _, t := range append(slices.Clone(i.ids), i.types...) {
		if t.first(eventIDPart, typePart) != nil {
			return nil, fmt.Errorf("%w: event_id and type can not be made of themselves", ErrTemplate)
		}
	}
	return i, nil
}

// first evaluates the templates until one has a value; which is its index.
// The string may share memory with the body.
func first(templates []*Template, r *Request, f *Fields) (value string, which int) {
	for i, t := range templates {
		if value, missing := t.evaluate(r, f); missing == nil && nameable(value) {
			return value, i
		}
	}
	return "", -1
}

// evaluate is append to a string, without a copy where the template is one placeholder.
func (t *Template) evaluate(r *Request, f *Fields) (string, *part) {
	if len(t.parts) == 1 && t.parts[0].kind != literalPart && t.parts[0].kind != bodyPart {
		p := &t.parts[0]
		value, ok := p.value(r, f)
		if !ok {
			return "", p
		}
		return value, nil
	}
	out, missing := t.append(nil, r, f)
	return string(out), missing
}

// keyMemory holds a usual identity in one allocation.
type keyMemory struct {
	parts [4][]byte
	sum   [sha256.Size]byte
	text  [128]byte
}

// parts evaluates the keys. trusted says that all of them are signed. Beside
// an event id a key may be absent, as an empty part, where the body tells such
// requests apart.
func (i *Identity) parts(r *Request, f *Fields, trusted bool) [][]byte {
	withBody := i.body || !trusted && !i.alone
	if len(i.keys) == 0 && !i.body {
		return nil
	}
	if !withBody && len(i.keys) == 1 && i.keys[0].only(eventIDPart) != nil {
		if f.EventID == "" {
			return nil
		}
		return [][]byte{unsafe.Slice(unsafe.StringData(f.EventID), len(f.EventID))} // nobody changes it
	}
	memory := new(keyMemory)
	parts, text := memory.parts[:0], memory.text[:0]
	for _, key := range i.keys {
		if key.only(bodyPart) != nil {
			memory.sum = sha256.Sum256(r.Body)
			parts = append(parts, memory.sum[:])
			continue
		}
		start := len(text)
		var missing *part
		text, missing = key.append(text, r, f)
		if missing != nil || len(text) == start {
			if !withBody || !i.named || key.first(eventIDPart) != nil {
				return nil
			}
			text = text[:start]
		}
		parts = append(parts, text[start:len(text):len(text)])
	}
	if withBody {
		start := len(text)
		text = append(text, f.Type...)
		memory.sum = sha256.Sum256(r.Body)
		parts = append(parts, text[start:len(text):len(text)], memory.sum[:])
	}
	return parts
}

// maxName is how long an event id or type may be, in bytes.
const maxName = 256

// nameable reports whether text can be an event id or type: it goes into
// headers and logs, so what is longer or holds control characters is none.
func nameable(text string) bool {
	if text == "" || len(text) > maxName {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c == 0x7f:
			return false
		case c >= utf8.RuneSelf:
			return utf8.ValidString(text[i:]) && !strings.ContainsFunc(text[i:], unicode.IsControl)
		}
	}
	return true
}

// covers reports whether a signature over the message covers everything that
// the template is made of. The event id and the type count as covered: they
// are looked at by themselves.
func covers(message, t *Template) bool {
	for i := range t.parts {
		p := &t.parts[i]
		switch p.kind {
		case literalPart, eventIDPart, typePart:
			continue
		case bodyPathPart, formPart:
			if message.first(bodyPart) != nil {
				continue
			}
		case uriPart, pathPart, queryPart:
			if message.first(urlPart, uriPart) != nil {
				continue
			}
		case hostPart:
			if message.first(urlPart, baseURLPart) != nil {
				continue
			}
		}
		if !slices.ContainsFunc(message.parts, func(m part) bool {
			return m.kind == p.kind && m.name == p.name && m.path == p.path
		}) {
			return false
		}
	}
	return true
}
