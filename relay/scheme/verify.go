// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"crypto/hmac"
	"fmt"
	"strings"
	"time"
)

// Verify checks a request and says what it is. The error is a [*Failure].
func (v *Verifier) Verify(r *Request, now time.Time) (Verdict, error) {
	s := v.newScratch()
	defer v.release(s)
	p, result, failure := v.check(r, now, s)
	if failure != nil {
		failure.Scheme, failure.body = v.scheme.Name, r.Body
		failure.Secrets = max(failure.Secrets, v.secrets)
		return Verdict{}, failure
	}
	verdict := Verdict{Scheme: v.scheme.Name, Secret: result.secret, Timestamp: result.signed}
	v.identify(p, r, &verdict)
	return verdict, nil
}

// checked is what a good signature tells.
type checked struct {
	secret int
	signed time.Time
}

// check finds the proof that the request carries and verifies it.
func (v *Verifier) check(r *Request, now time.Time, s *scratch) (*proof, checked, *Failure) {
	p := v.proofs[0]
	if len(v.proofs) > 1 {
		if p = v.choose(r); p == nil {
			return nil, checked{}, v.missing(r)
		}
	}
	result, failure := p.verify(r, now, s)
	if failure != nil && !p.present(r) {
		return nil, checked{}, v.missing(r)
	}
	return p, result, failure
}

// choose returns the form that the request has, the first whose signature is
// there, written as that form has it, and whose requirements it meets, or else
// the first whose place holds anything.
func (v *Verifier) choose(r *Request) *proof {
	var found *proof
	for _, p := range v.proofs {
		if !p.present(r) {
			continue
		}
		if found == nil {
			found = p
		}
		if len(v.proofs) == 1 || p.collector.carries(r) && p.unmet(r) == nil {
			return p
		}
	}
	return found
}

// present reports whether the request has a signature of this form.
func (p *proof) present(r *Request) bool {
	return p.form != nil && p.form.items != nil || p.collector.present(r)
}

// verify takes a value that is several apart; any of them may be the right one.
func (p *proof) verify(r *Request, now time.Time, s *scratch) (checked, *Failure) {
	switch {
	case p.JWT != nil:
		return p.verifyJWT(r, now, s)
	case p.form != nil && p.form.items != nil:
		return p.verifyItems(r, s)
	case !p.Signature.Groups:
		if note := p.collector.collect(r, s); note != "" {
			return checked{}, &Failure{Reason: ErrMalformed, note: note}
		}
		return p.verifyCollected(r, now, s)
	}
	groups := p.collector.groups(r)
	if len(groups) == 0 || len(groups) > maxAsymmetric {
		return checked{}, &Failure{Reason: ErrMalformed, note: p.collector.place() + " is there twice or holds too many groups"}
	}
	var result checked
	var failure *Failure
	for _, group := range groups {
		s.found, s.fields = s.found[:0], s.fields[:0]
		if note := p.collector.divide(group, s); note != "" {
			return checked{}, &Failure{Reason: ErrMalformed, note: note}
		}
		if result, failure = p.verifyCollected(r, now, s); failure == nil {
			break
		}
	}
	return result, failure
}

// verifyCollected checks the signature first and then its age, so that only the
// owner of a secret learns about clocks.
func (p *proof) verifyCollected(r *Request, now time.Time, s *scratch) (checked, *Failure) {
	if unmet := p.unmet(r); unmet != nil {
		return checked{}, &Failure{Reason: ErrMismatch, note: unmet.template.String() + " is not the expected value"}
	}
	s.message.template, s.message.request, s.message.fields.signature = p.message, r, s.fields
	signed, failure := p.stamp(r, s)
	if failure != nil {
		return checked{}, failure
	}
	secret, failure := p.matchTexts(r, s)
	if failure != nil {
		return checked{}, failure
	}
	if p.timestamp != nil {
		if skew, limit, ok := p.Timestamp.fresh(signed, now); !ok {
			return checked{}, &Failure{Reason: ErrStale, Skew: skew, Limit: limit}
		}
	}
	return checked{secret, signed}, nil
}

// unmet returns the first requirement that the request does not meet, or nil.
func (p *proof) unmet(r *Request) *requirement {
	for i := range p.require {
		value, missing := p.require[i].template.evaluate(r, &Fields{})
		if missing != nil || value != p.require[i].value {
			return &p.require[i]
		}
	}
	return nil
}

// matchTexts tries each text that the provider may have signed.
func (p *proof) matchTexts(r *Request, s *scratch) (int, *Failure) {
	if p.keyURL != nil {
		return p.matchFetched(r, s)
	}
	if p.service != nil {
		return p.matchService(r, s)
	}
	keys, failure := p.keysFor(r, s)
	if failure != nil {
		return 0, failure
	}
	return p.matchKeys(keys, r, s)
}

// matchService does so with the keys that the provider publishes.
func (p *proof) matchService(r *Request, s *scratch) (int, *Failure) {
	id := ""
	if p.keyID != nil {
		var missing *part
		if id, missing = p.keyID.evaluate(r, &s.message.fields); missing != nil {
			return 0, lacking(missing, r)
		}
	}
	secret := 0
	return secret, p.withServiceKeys(r, id, func(keys []*key) *Failure {
		_, failure := p.matchKeys(keys, r, s)
		return failure
	})
}

func (p *proof) matchKeys(keys []*key, r *Request, s *scratch) (int, *Failure) {
	if p.form == nil && p.complete {
		return p.match(keys, s)
	}
	if p.form == nil {
		if missing := p.message.missing(r, &s.message.fields); missing != nil {
			return 0, lacking(missing, r)
		}
		return p.match(keys, s)
	}
	texts, failure := p.form.texts(r, &s.message.fields)
	if failure != nil {
		return 0, failure
	}
	secret := -1
	for _, text := range texts {
		s.message.template, s.message.text = nil, text
		var found int
		if found, failure = p.match(keys, s); failure == nil && secret < 0 {
			secret = found
		}
	}
	if secret >= 0 {
		return secret, nil
	}
	return 0, failure
}

// keysFor gives the keys to try: all, or the one that the request names. An
// unknown name is no match, whatever other keys would say.
func (p *proof) keysFor(r *Request, s *scratch) ([]*key, *Failure) {
	if p.keyID == nil {
		return p.keys, nil
	}
	id, missing := p.keyID.evaluate(r, &s.message.fields)
	if missing != nil {
		return nil, lacking(missing, r)
	}
	for i, k := range p.keys {
		if k.id == id {
			return p.keys[i : i+1], nil
		}
	}
	return nil, &Failure{Reason: ErrMismatch, note: p.keyID.String() + " names no configured key"}
}

// stamp reads the timestamp into the fields of the message.
func (p *proof) stamp(r *Request, s *scratch) (time.Time, *Failure) {
	if p.timestamp == nil {
		return time.Time{}, nil
	}
	text, missing := p.timestamp.evaluate(r, &s.message.fields)
	if missing != nil || text == "" {
		if missing == nil {
			missing = &p.timestamp.parts[0]
		}
		return time.Time{}, lacking(missing, r)
	}
	signed, ok := p.Timestamp.Unit.parse(text)
	if !ok {
		return time.Time{}, &Failure{Reason: ErrMalformed, note: "timestamp can not be read"}
	}
	s.message.fields.timestamp = text
	return signed, nil
}

// match tries every signature with every key, and all of them even after one
// has matched, so that the time taken tells nothing.
func (p *proof) match(keys []*key, s *scratch) (secret int, failure *Failure) {
	secret = -1
	readable := 0
	for _, k := range keys {
		var want []byte
		if k.sum != nil {
			want = k.sum(&s.message, s)
		}
		tried := 0
		for _, c := range s.found {
			if p.Signature.Format == Tagged && c.tag != k.tag || p.Signature.Format == Pairs && c.tag != k.id {
				continue
			}
			sig, ok := p.Signature.Encoding.decode(s.sig[:0], c.text, k.size)
			s.sig = sig[:0]
			if !ok {
				continue
			}
			readable++
			if tried++; k.check != nil && tried > maxAsymmetric {
				break
			}
			if k.sum != nil && hmac.Equal(sig, want) || k.check != nil && k.check(&s.message, s, sig) {
				if secret < 0 {
					secret = k.index
				}
			}
		}
	}
	switch {
	case secret >= 0:
		return secret, nil
	case readable == 0 && p.Signature.Format != Tagged && p.Signature.Format != Pairs:
		return 0, &Failure{Reason: ErrMalformed, note: p.collector.place() + " holds no signature of the expected form"}
	default:
		return 0, &Failure{Reason: ErrMismatch}
	}
}

// lacking is the failure of a request that lacks a part of the signed text, or has it twice.
func lacking(p *part, r *Request) *Failure {
	switch p.kind {
	case headerPart:
		if _, lines := r.header(p.name); lines > 1 {
			return &Failure{Reason: ErrMalformed, note: fmt.Sprintf("%d lines of %s, expected one", lines, p.name)}
		}
		return &Failure{Reason: ErrMissing, note: "no " + p.name + underscoreHint(p.name)}
	case signatureFieldPart:
		return &Failure{Reason: ErrMissing, note: "no " + p.name + "= beside the signature"}
	default:
		return &Failure{Reason: ErrMissing, note: "no {" + placeholderName(p) + "}, or more than one"}
	}
}

// underscoreHint explains why Caddy may have dropped a header.
func underscoreHint(name string) string {
	if strings.ContainsAny(name, "_.") {
		return " (Caddy drops header names with _ or . unless the server lists them in expected_underscore_headers)"
	}
	return ""
}

// missing says that no signature is there, and whose request it looks like.
func (v *Verifier) missing(r *Request) *Failure {
	place := v.proofs[0].collector.place()
	note := "no " + place + underscoreHint(place)
	if header, name := Recognize(r.Header); name != "" && name != v.scheme.Name {
		note = fmt.Sprintf("no %s, but %s is present: this looks like %s", place, header, name)
	}
	return &Failure{Reason: ErrMissing, note: note}
}

// identify fills in the event id, the type and the identity.
func (v *Verifier) identify(p *proof, r *Request, verdict *Verdict) {
	var f Fields
	r = v.unseal(r, len(r.Body))
	id, whichID := first(v.identity.ids, r, &f)
	kind, whichType := first(v.identity.types, r, &f)
	if whichType < 0 && p.form != nil && p.form.kind != nil {
		kind = p.form.kind(r)
	}
	// One copy frees both from the memory of the body.
	both := id + kind
	if len(id) == 0 || len(kind) == 0 {
		both = strings.Clone(both)
	}
	verdict.EventID, verdict.Type = both[:len(id)], both[len(id):]
	f.EventID, f.Type = verdict.EventID, verdict.Type
	trusted := p.keysSigned && (whichID < 0 || p.idSigned[whichID]) && (whichType < 0 || p.typeSigned[whichType] || !v.identity.namesType())
	verdict.Identity = v.identity.parts(r, &f, trusted)
}

// namesType reports whether the type is a key of its own.
func (i *Identity) namesType() bool {
	for _, t := range i.keys {
		if t.first(typePart) != nil {
			return true
		}
	}
	return false
}
