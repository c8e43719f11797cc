// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/json"
)

// maxSealed is the longest text that is decrypted in search of a question:
// events may be much longer, and are not.
const maxSealed = 4 << 10

// newCiphers makes the keys of sealed handshakes, none where there is no such
// handshake.
func newCiphers(handshakes []*handshake, secrets [][]byte) []cipher.Block {
	var all []cipher.Block
	for _, h := range handshakes {
		if h.sealed == nil || len(all) > 0 {
			continue
		}
		for _, secret := range secrets {
			key := sha256.Sum256(secret)
			block, _ := aes.NewCipher(key[:]) // 32 bytes make a key
			all = append(all, block)
		}
	}
	return all
}

// unseal returns the request with the document that is encrypted in it for a
// body, nil if none of the secrets makes anything of it. Why is not told: senders
// must not learn from the answer what a changed text decrypts to.
func (v *Verifier) unseal(h *handshake, r *Request) *Request {
	text, missing := h.sealed.evaluate(r, &Fields{})
	if missing != nil || len(text) > maxSealed {
		return nil
	}
	sealed, ok := Base64.decode(nil, text, 0)
	if !ok || len(sealed) < 2*aes.BlockSize || len(sealed)%aes.BlockSize != 0 {
		return nil
	}
	for _, block := range v.ciphers {
		plain := make([]byte, len(sealed)-aes.BlockSize)
		cipher.NewCBCDecrypter(block, sealed[:aes.BlockSize]).CryptBlocks(plain, sealed[aes.BlockSize:])
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
	return nil
}
