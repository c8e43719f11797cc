// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/json"
	"fmt"
)

// maxSealed is the longest text that is decrypted in search of a question, which
// nobody has signed: events may be much longer, and are not questions.
const maxSealed = 4 << 10

// sealed opens the documents that a provider encrypts.
type sealed struct {
	text    *Template
	ciphers []cipher.Block // by secret
}

// compileSealed parses where the document is, nil if there is none.
func compileSealed(s *Scheme) (*sealed, error) {
	if s.Sealed == "" {
		return nil, nil
	}
	text, err := ParseTemplate(s.Sealed)
	if err != nil {
		return nil, fmt.Errorf("sealed: %w", err)
	}
	return &sealed{text: text}, nil
}

// bind makes the keys.
func (s *sealed) bind(secrets [][]byte) {
	if s == nil {
		return
	}
	for _, secret := range secrets {
		key := sha256.Sum256(secret)
		block, _ := aes.NewCipher(key[:]) // 32 bytes make a key
		s.ciphers = append(s.ciphers, block)
	}
}

// unseal returns the request with the document that is encrypted in it for a
// body, the request itself if none of the secrets makes anything of a text of at
// most that length. Why is not told: senders must not learn from the answer what
// a changed text decrypts to.
func (v *Verifier) unseal(r *Request, limit int) *Request {
	if v.sealed == nil {
		return r
	}
	text, missing := v.sealed.text.evaluate(r, &Fields{})
	if missing != nil || len(text) > limit {
		return r
	}
	box, ok := Base64.decode(nil, text, 0)
	if !ok || len(box) < 2*aes.BlockSize || len(box)%aes.BlockSize != 0 {
		return r
	}
	for _, block := range v.sealed.ciphers {
		plain := make([]byte, len(box)-aes.BlockSize)
		cipher.NewCBCDecrypter(block, box[:aes.BlockSize]).CryptBlocks(plain, box[aes.BlockSize:])
		padding := int(plain[len(plain)-1])
		if padding == 0 || padding > aes.BlockSize {
			continue
		}
		if document := plain[:len(plain)-padding]; json.Valid(document) {
			opened := *r
			opened.Body = document
			return &opened
		}
	}
	return r
}
