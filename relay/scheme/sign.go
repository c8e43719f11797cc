// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"time"
)

// Sign makes the headers with which the provider would send the request now,
// signed with the first secret. id is the event id for schemes that sign one in
// a header; empty keeps the one in the request. Headers of the request that the
// signed text names are used as they are. The error wraps ErrCannotSign if only
// the provider can make the signature.
func (v *Verifier) Sign(r *Request, id string, now time.Time) (http.Header, error) {
	return v.signWith(r, id, now, 1)
}

// SignAll is Sign with every secret, where the scheme can list signatures;
// with the first elsewhere.
func (v *Verifier) SignAll(r *Request, id string, now time.Time) (http.Header, error) {
	n := 1
	switch v.proofs[0].Signature.Format {
	case KeyValue, Tagged, List, Positional:
		n = maxSignatures
	}
	return v.signWith(r, id, now, n)
}

// signWith signs in the form that the request has, or else in the usual one.
func (v *Verifier) signWith(r *Request, id string, now time.Time, keys int) (http.Header, error) {
	p := v.choose(r)
	if p == nil {
		p = v.proofs[0]
	}
	if len(p.keys) == 0 {
		return nil, fmt.Errorf("scheme %s: %w", v.scheme.Name, ErrNoSecret)
	}
	s := v.newScratch()
	defer v.release(s)
	headers, err := p.signature(v.identity, r, id, now, p.keys[:min(keys, len(p.keys))], s)
	if err != nil {
		return nil, fmt.Errorf("scheme %s: %w", v.scheme.Name, err)
	}
	return headers, nil
}

// canStamp reports whether the timestamp lies in a header, so that a fresh one
// can take its place.
func (p *proof) canStamp() bool {
	return p.timestamp != nil && (p.timestamp.only(headerPart) != nil || p.timestamp.only(signatureFieldPart) != nil)
}

func (p *proof) signature(identity *Identity, r *Request, id string, now time.Time, keys []*key, s *scratch) (http.Header, error) {
	if p.keyURL != nil || p.service != nil || p.Signature.Header == "" {
		return nil, fmt.Errorf("%w: the signature is in the body, or its key is the provider's own", ErrCannotSign)
	}
	if p.JWT != nil {
		return p.signJWT(r, now, keys[0])
	}
	set := make(http.Header)
	for _, need := range p.require {
		if h := need.template.only(headerPart); h != nil {
			set.Set(h.name, need.value)
		}
	}
	var fields []field
	if p.keyID != nil {
		if h := p.keyID.only(headerPart); h != nil {
			set.Set(h.name, keys[0].id)
		}
		if f := p.keyID.only(signatureFieldPart); f != nil {
			fields = append(fields, field{f.name, keys[0].id})
		}
	}
	if id != "" {
		for _, t := range identity.ids {
			if h := t.only(headerPart); h != nil && covers(p.message, t) {
				set.Set(h.name, id)
			}
		}
	}
	signed := *r
	s.message = message{template: p.message, request: &signed}
	fields = append(fields, p.restamp(r, now, set, &s.message.fields)...)
	signed.Header = overlay(r.Header, set)
	if err := p.prepare(&signed, &s.message); err != nil {
		return nil, err
	}
	var signatures []candidate
	for _, k := range keys {
		if k.sign == nil {
			return nil, fmt.Errorf("%w: the secret is a public key", ErrCannotSign)
		}
		sum := k.sign(&s.message, s)
		signatures = append(signatures, candidate{k.name(p), p.Signature.Encoding.encode(sum)})
	}
	name := p.Signature.Header
	if p.Signature.Numbered {
		name += strconv.Itoa(1)
	}
	set.Set(name, p.collector.write(fields, signatures))
	return set, nil
}

// prepare makes the text to sign.
func (p *proof) prepare(r *Request, m *message) error {
	if p.form == nil {
		if missing := p.message.missing(r, &m.fields); missing != nil {
			return fmt.Errorf("%w: the request has no {%s}", ErrCannotSign, placeholderName(missing))
		}
		return nil
	}
	texts, failure := p.form.texts(r, &m.fields)
	if failure != nil {
		return fmt.Errorf("%w: %s", ErrCannotSign, failure.Detail())
	}
	m.template, m.text = nil, texts[0]
	return nil
}

// restamp puts a fresh timestamp where the scheme has it, in the unit in which
// the request had it, and returns the fields beside the signature.
func (p *proof) restamp(r *Request, now time.Time, set http.Header, f *Fields) []field {
	if p.timestamp == nil {
		return nil
	}
	old, _ := p.timestamp.evaluate(r, f)
	if !p.canStamp() {
		f.timestamp = old
		return nil
	}
	unit := p.Timestamp.Unit
	if unit == AutoUnit && old != "" {
		unit = unit.of(old)
	}
	f.timestamp = unit.format(now)
	if h := p.timestamp.only(headerPart); h != nil {
		set.Set(h.name, f.timestamp)
		return nil
	}
	f.signature = []field{{p.timestamp.only(signatureFieldPart).name, f.timestamp}}
	return f.signature
}

// overlay is a header with some fields replaced; neither argument changes.
func overlay(base, set http.Header) http.Header {
	merged := base.Clone()
	if merged == nil {
		merged = make(http.Header)
	}
	for name, values := range set {
		merged[textproto.CanonicalMIMEHeaderKey(name)] = values
	}
	return merged
}

// name is what stands beside a signature in a list.
func (k *key) name(p *proof) string {
	if p.Signature.Format == Pairs {
		return k.id
	}
	return k.tag
}
