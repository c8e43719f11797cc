// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"fmt"
	"net/textproto"
	"slices"
	"time"
)

// CoversURL reports whether the signature covers the URL that the provider
// called, so that a receiver behind a proxy must be told its public one.
func (s *Scheme) CoversURL() bool {
	for _, described := range s.proofs() {
		p, err := compileProof(described)
		if err == nil && p.message.first(urlPart, baseURLPart, hostPart) != nil {
			return true
		}
	}
	return false
}

// NeedsToken reports whether a handshake is answered only with the help of
// [Options].Token.
func (s *Scheme) NeedsToken() bool {
	for i := range s.Handshakes {
		if h := &s.Handshakes[i]; h.Token != "" || h.Compute == "ebay" {
			return true
		}
	}
	return false
}

// Learns reports whether a handshake brings the secret of the events to come.
func (s *Scheme) Learns() bool { return s.learns() }

// FetchesKeys reports whether keys of the scheme are published by its provider.
func (s *Scheme) FetchesKeys() bool {
	return slices.ContainsFunc(s.proofs(), func(p *Proof) bool { return p.KeyURL != nil || p.KeyService != nil })
}

// SignatureHeaders lists the canonical names of the headers that carry a
// signature, of a numbered one those that a request may have.
func (s *Scheme) SignatureHeaders() []string {
	var names []string
	for _, p := range s.proofs() {
		for _, name := range newCollector(p.Signature, nil).headers {
			names = append(names, textproto.CanonicalMIMEHeaderKey(name))
		}
	}
	return names
}

// Timestamp reads when a request says that it was signed; it verifies nothing.
// It is false where the request does not say, or where [Verifier.Sign] could not
// sign it again with a fresh time.
func (v *Verifier) Timestamp(r *Request) (time.Time, bool) {
	p := v.choose(r)
	if p == nil || !p.canStamp() || len(p.keys) == 0 || p.keys[0].sign == nil {
		return time.Time{}, false
	}
	s := v.newScratch()
	defer v.release(s)
	if p.Signature.Groups {
		groups := p.collector.groups(r)
		if len(groups) == 0 || p.collector.divide(groups[0], s) != "" {
			return time.Time{}, false
		}
	} else if p.collector.collect(r, s) != "" {
		return time.Time{}, false
	}
	s.message = message{template: p.message, request: r, fields: Fields{signature: s.fields}}
	at, failure := p.stamp(r, s)
	return at, failure == nil && !at.IsZero()
}

// CanSign returns nil if [Verifier.Sign] can sign requests that have what the
// signed text names. Its error wraps ErrNoSecret or ErrCannotSign.
func (v *Verifier) CanSign() error {
	p := v.proofs[0]
	switch {
	case len(p.keys) == 0:
		return fmt.Errorf("scheme %s: %w", v.scheme.Name, ErrNoSecret)
	case p.keyURL != nil, p.Signature.Header == "":
		return fmt.Errorf("scheme %s: %w: the signature is in the body, or its key is the provider's own", v.scheme.Name, ErrCannotSign)
	case p.JWT != nil:
		if _, symmetric := p.keys[0].jwt.([]byte); !symmetric {
			return fmt.Errorf("scheme %s: %w: only tokens with a shared secret are made", v.scheme.Name, ErrCannotSign)
		}
	case p.keys[0].sign == nil:
		return fmt.Errorf("scheme %s: %w: the secret is a public key", v.scheme.Name, ErrCannotSign)
	}
	return nil
}
