// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // some providers sign with nothing better
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// message is the signed text: a template over a request, or text made before.
type message struct {
	template *Template
	text     []byte // takes the place of the template
	request  *Request
	fields   Fields
}

// hashInto writes the signed text to h.
func (m *message) hashInto(h hash.Hash, s *scratch) {
	if m.template == nil {
		h.Write(m.text)
		return
	}
	s.buf = m.template.hashInto(h, s.buf, m.request, &m.fields)
}

// bytes puts the signed text together; it is valid until the scratch is used again.
func (m *message) bytes(s *scratch) []byte {
	if m.template == nil {
		return m.text
	}
	s.text, _ = m.template.append(s.text[:0], m.request, &m.fields)
	return s.text
}

// scratch is the working memory of one verification.
type scratch struct {
	message
	found  []candidate
	fields []field
	buf    []byte
	text   []byte
	sig    []byte
	sum    [sha512.Size]byte
	states []hash.Hash // by the place of the key in its verifier
}

// maxKept is the largest buffer that goes back to the pool.
const maxKept = 64 << 10

// newScratch takes memory from the verifier's pool. It is the verifier's own, as it holds states of the keys' hashes.
func (v *Verifier) newScratch() *scratch {
	if s, ok := v.scratches.Get().(*scratch); ok {
		return s
	}
	return new(scratch)
}

// release forgets the request and gives the memory back.
func (v *Verifier) release(s *scratch) {
	s.message = message{}
	clear(s.found)
	clear(s.fields)
	s.found, s.fields = s.found[:0], s.fields[:0]
	if cap(s.text) > maxKept {
		s.text = nil
	}
	if cap(s.buf) > maxKept {
		s.buf = nil
	}
	v.scratches.Put(s)
}

// state is a hash of the key in that place, at its beginning. Resetting an HMAC that has been used skips the work on
// the key.
func (s *scratch) state(place int, newHash func() hash.Hash) hash.Hash {
	if place < len(s.states) && s.states[place] != nil {
		h := s.states[place]
		h.Reset()
		return h
	}
	h := newHash()
	s.states = append(s.states, make([]hash.Hash, max(0, place+1-len(s.states)))...)
	s.states[place] = h
	return h
}

// hashOf gives the hash of a digest or MAC algorithm, nil for others.
func hashOf(alg Algorithm) (newHash func() hash.Hash, size int) {
	switch alg {
	case HMACSHA1:
		return sha1.New, sha1.Size
	case HMACSHA256:
		return sha256.New, sha256.Size
	case HMACSHA384:
		return sha512.New384, sha512.Size384
	case HMACSHA512:
		return sha512.New, sha512.Size
	default:
		return nil, 0
	}
}

// newMAC makes an HMAC key.
func newMAC(alg Algorithm, tag string, secret []byte) *key {
	newHash, size := hashOf(alg)
	return newSum(tag, size, nil, func() hash.Hash { return hmac.New(newHash, secret) })
}

// newDigest makes a key for texts that contain the secret.
func newDigest(tag string, secret []byte) *key {
	return newSum(tag, sha256.Size, secret, sha256.New)
}

// newSum makes a key whose signature is the sum of a hash over the text, with the secret for texts that contain it.
func newSum(tag string, size int, secret []byte, newHash func() hash.Hash) *key {
	k := &key{tag: tag, size: size}
	k.sum = func(m *message, s *scratch) []byte {
		h := s.state(k.place, newHash)
		m.fields.secret = secret
		m.hashInto(h, s)
		m.fields.secret = nil
		return h.Sum(s.sum[:0])
	}
	k.sign = func(m *message, s *scratch) []byte { return bytes.Clone(k.sum(m, s)) }
	return k
}

// newToken makes a key that is its own signature. Digests are compared, so
// that not even its length shows in the time taken.
func newToken(tag string, secret []byte) *key {
	want := sha256.Sum256(secret)
	return &key{tag: tag, check: func(_ *message, _ *scratch, token []byte) bool {
		got := sha256.Sum256(token)
		return hmac.Equal(got[:], want[:])
	}, sign: func(*message, *scratch) []byte { return bytes.Clone(secret) }}
}

// newEd25519 makes a key of 32 public bytes.
func newEd25519(tag string, raw []byte) (*key, error) {
	if len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: an ed25519 public key holds 32 bytes", ErrKey)
	}
	public := ed25519.PublicKey(bytes.Clone(raw))
	return &key{tag: tag, size: ed25519.SignatureSize, check: func(m *message, s *scratch, signature []byte) bool {
		return ed25519.Verify(public, m.bytes(s), signature)
	}}, nil
}

// newEd25519Private makes a key that signs as well.
func newEd25519Private(tag string, private ed25519.PrivateKey) *key {
	public := private.Public().(ed25519.PublicKey)
	k, _ := newEd25519(tag, public)
	k.sign = func(m *message, s *scratch) []byte { return ed25519.Sign(private, m.bytes(s)) }
	return k
}
