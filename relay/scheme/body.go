// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"
)

// BodyPath finds one value in a JSON body. The path is dotted keys, whole
// numbers being indexes in arrays and `*` all elements of one, `\.` and `\*`
// standing for a dot and a star in a key. Strings come without their quotes and
// escapes, everything else as written, the values of all elements as an array.
// It is false if there is no such value, or it is null or an empty array. The
// body need not be valid beyond the value, and of two equal keys the first counts.
func BodyPath(body []byte, path string) (string, bool) {
	query, ok := bodyQuery(path)
	if !ok {
		return "", false
	}
	value, ok := query.find(body)
	return strings.Clone(value), ok
}

// jsonQuery is a path in the language of gjson.
type jsonQuery string

// bodyQuery translates a path of ours; it is false for a path with an empty key.
func bodyQuery(path string) (jsonQuery, bool) {
	var b strings.Builder
	for {
		key, rest, more := cutKey(path)
		switch key {
		case "":
			return "", false
		case "*":
			b.WriteByte('#')
		default:
			writeKey(&b, key)
		}
		if !more {
			return jsonQuery(b.String()), true
		}
		b.WriteByte('.')
		path = rest
	}
}

// cutKey takes the first key off a path, its escapes kept.
func cutKey(path string) (key, rest string, more bool) {
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '\\':
			i++
		case '.':
			return path[:i], path[i+1:], true
		}
	}
	return path, "", false
}

// writeKey writes a key so that gjson takes every byte for itself.
func writeKey(b *strings.Builder, key string) {
	for i := 0; i < len(key); i++ {
		if key[i] == '\\' && i+1 < len(key) {
			i++
		}
		if !plainKeyByte(key[i]) {
			b.WriteByte('\\')
		}
		b.WriteByte(key[i])
	}
}

// plainKeyByte reports whether gjson gives a byte no meaning of its own.
func plainKeyByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
		c == '_' || c == '-' || c == ' ' || c == ':' || c == '/' || c == '$' || c >= 0x80
}

// find returns the value; where it needs no unescaping it shares the body's memory.
func (q jsonQuery) find(body []byte) (string, bool) {
	for len(body) > 0 && (body[0] == ' ' || body[0] == '\t' || body[0] == '\r' || body[0] == '\n') {
		body = body[1:]
	}
	if len(body) == 0 || body[0] != '{' && body[0] != '[' {
		return "", false
	}
	value := gjson.Get(borrow(body), string(q))
	switch value.Type {
	case gjson.Null:
		return "", false
	case gjson.String:
		return value.Str, true
	default:
		return value.Raw, value.Raw != "" && value.Raw != "[]"
	}
}

// borrow is b as text without a copy. What is made of it only reads, and is
// copied before it leaves this package.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
