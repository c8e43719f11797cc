// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"hash"
	"net/url"
	"strings"
)

// Fields are the values of a message that a template can name beside the
// request itself. One that is empty counts as missing.
type Fields struct {
	EventID string
	Type    string
	Source  string

	timestamp string
	signature []field
	secret    []byte

	challenge, answer, keyID string
}

// field is one element of a signature header that is not a signature.
type field struct{ name, value string }

// Append evaluates the template and appends the result to dst. It is false,
// and dst as it was, if the request lacks a value that the template names, or
// has it more than once.
func (t *Template) Append(dst []byte, r *Request, f Fields) ([]byte, bool) {
	out, missing := t.append(dst, r, &f)
	if missing != nil {
		return dst, false
	}
	return out, true
}

// append is Append that tells which part was missing.
func (t *Template) append(dst []byte, r *Request, f *Fields) ([]byte, *part) {
	for i := range t.parts {
		p := &t.parts[i]
		switch p.kind {
		case literalPart:
			dst = append(dst, p.literal...)
		case bodyPart:
			dst = append(dst, r.Body...)
		case secretPart:
			dst = append(dst, f.secret...)
		default:
			value, ok := p.value(r, f)
			if !ok {
				return dst, p
			}
			dst = append(dst, value...)
		}
	}
	return dst, nil
}

// hashInto writes the evaluated template to h, all but the body put together
// in buf, which is returned for the next use.
func (t *Template) hashInto(h hash.Hash, buf []byte, r *Request, f *Fields) []byte {
	buf = buf[:0]
	for i := range t.parts {
		p := &t.parts[i]
		switch p.kind {
		case literalPart:
			buf = append(buf, p.literal...)
		case bodyPart:
			if len(buf) > 0 {
				h.Write(buf)
				buf = buf[:0]
			}
			h.Write(r.Body)
		case secretPart:
			buf = append(buf, f.secret...)
		case timestampPart:
			buf = append(buf, f.timestamp...)
		default:
			value, _ := p.value(r, f)
			buf = append(buf, value...)
		}
	}
	if len(buf) > 0 {
		h.Write(buf)
	}
	return buf
}

// missing returns the first placeholder of a signed text that the request has
// no value for. A header that is there and empty says no more than one that is
// not, and the providers' libraries refuse both.
func (t *Template) missing(r *Request, f *Fields) *part {
	for i := range t.parts {
		switch p := &t.parts[i]; p.kind {
		case literalPart, bodyPart, secretPart:
		default:
			if value, ok := p.value(r, f); !ok || value == "" && p.kind == headerPart {
				return p
			}
		}
	}
	return nil
}

// value evaluates one placeholder. The string may share memory with the body.
func (p *part) value(r *Request, f *Fields) (string, bool) {
	switch p.kind {
	case methodPart:
		return r.Method, r.Method != ""
	case hostPart:
		return r.Host, r.Host != ""
	case uriPart:
		return r.uri(), true
	case pathPart:
		path, _, _ := strings.Cut(r.uri(), "?")
		return path, true
	case queryPart:
		return parameter(r.rawQuery(), p.name)
	case headerPart:
		value, lines := r.header(p.name)
		return value, lines == 1
	case bodyPathPart:
		return p.path.find(r.Body)
	case formPart:
		return parameter(borrow(r.Body), p.name)
	case urlPart:
		return r.URL, r.URL != ""
	case baseURLPart:
		return r.baseURL(), r.URL != ""
	case eventIDPart:
		return f.EventID, f.EventID != ""
	case typePart:
		return f.Type, f.Type != ""
	case sourcePart:
		return f.Source, f.Source != ""
	case timestampPart:
		return f.timestamp, f.timestamp != ""
	case challengePart:
		return f.challenge, f.challenge != ""
	case answerPart:
		return f.answer, f.answer != ""
	case keyIDPart:
		return f.keyID, f.keyID != ""
	case signatureFieldPart:
		return fieldValue(f.signature, p.name)
	default:
		return "", false
	}
}

func fieldValue(fields []field, name string) (string, bool) {
	for i := range fields {
		if fields[i].name == name {
			return fields[i].value, true
		}
	}
	return "", false
}

// parameter returns the decoded value of the only parameter of that name in
// url-encoded text.
func parameter(encoded, name string) (string, bool) {
	var found string
	count := 0
	for encoded != "" {
		var pair string
		pair, encoded, _ = strings.Cut(encoded, "&")
		k, v, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(k); err != nil || k != name {
			continue
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			return "", false
		}
		found = value
		count++
	}
	return found, count == 1
}
