// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// maxKeys is how many keys a body may have whose values are signed one by one.
const maxKeys = 2000

// maxDepth is how deep such a body may be nested.
const maxDepth = 100

// freeKeys are the objects whose keys the merchant chooses, so that two may
// differ in case alone.
const freeKeys = "additionalData"

// keyFrame is an object or array that a walk through a document is in.
type keyFrame struct {
	seen  map[string]bool // nil in an array
	exact bool            // whether keys that differ in case are two
	key   string          // the last one read
	value bool            // whether a value is next
}

// unambiguous reports whether a document says everything once. Where single
// values are signed and not the bytes, a second key of the same name would let
// one parser see the signed value and another one not; some parsers do not
// heed case either.
func unambiguous(document []byte) bool {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	var stack []keyFrame
	for keys := 0; keys <= maxKeys; {
		token, err := d.Token()
		if err != nil || len(stack) > maxDepth {
			return false
		}
		switch t := token.(type) {
		case json.Delim:
			switch t {
			case '{':
				frame := keyFrame{seen: make(map[string]bool)}
				frame.exact = len(stack) > 0 && stack[len(stack)-1].key == freeKeys
				stack = append(stack, frame)
				continue
			case '[':
				stack = append(stack, keyFrame{})
				continue
			default:
				stack = stack[:len(stack)-1]
			}
		case string:
			if top := len(stack) - 1; top >= 0 && stack[top].seen != nil && !stack[top].value {
				keys++
				if !stack[top].take(t) {
					return false
				}
				continue
			}
		}
		if len(stack) == 0 {
			_, err := d.Token()
			return errors.Is(err, io.EOF)
		}
		stack[len(stack)-1].value = false
	}
	return false
}

// take notes a key; it is false if the object has it already.
func (f *keyFrame) take(key string) bool {
	f.key, f.value = key, true
	if !f.exact {
		key = strings.ToLower(key)
	}
	if f.seen[key] {
		return false
	}
	f.seen[key] = true
	return true
}
