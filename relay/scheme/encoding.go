// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"unsafe"
)

var (
	base64Strict    = base64.StdEncoding.Strict()
	base64RawStrict = base64.RawStdEncoding.Strict()
	base64URLStrict = base64.RawURLEncoding.Strict()
)

// decode appends the decoded text to dst. size is the length that the result
// must have, 0 if it varies. It is false unless the whole text decodes, to the
// right length, with canonical trailing bits.
func (e Encoding) decode(dst []byte, text string, size int) ([]byte, bool) {
	switch e {
	case Text:
		return append(dst, text...), true
	case Base64URL:
		text = trimPadding(text)
	}
	if size > 0 && len(text) != e.encodedLen(size) {
		return dst, false
	}
	if text == "" {
		return dst, false
	}
	// The decoders of encoding/base64 skip line ends.
	if e == Base64 || e == Base64URL {
		if strings.IndexByte(text, '\n') >= 0 || strings.IndexByte(text, '\r') >= 0 {
			return dst, false
		}
	}
	start := len(dst)
	dst = slices.Grow(dst, len(text))
	into, from := dst[start:cap(dst)], unsafe.Slice(unsafe.StringData(text), len(text)) // from is only read
	var n int
	var err error
	switch e {
	case Base64:
		n, err = base64Strict.Decode(into, from)
	case Base64URL:
		n, err = base64URLStrict.Decode(into, from)
	default:
		n, err = hex.Decode(into, from)
	}
	return dst[:start+n], err == nil && (size == 0 || n == size)
}

// trimPadding removes padding where it is of the right length.
func trimPadding(text string) string {
	if len(text)%4 != 0 {
		return text
	}
	return strings.TrimSuffix(strings.TrimSuffix(text, "="), "=")
}

func (e Encoding) encodedLen(size int) int {
	switch e {
	case Base64:
		return base64Strict.EncodedLen(size)
	case Base64URL:
		return base64URLStrict.EncodedLen(size)
	default:
		return hex.EncodedLen(size)
	}
}

func (e Encoding) encode(sum []byte) string {
	switch e {
	case Base64:
		return base64.StdEncoding.EncodeToString(sum)
	case Base64URL:
		return base64.RawURLEncoding.EncodeToString(sum)
	case Text:
		return string(sum)
	default:
		return hex.EncodeToString(sum)
	}
}
