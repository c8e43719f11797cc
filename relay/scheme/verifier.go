// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Verifier is a scheme bound to its secrets. It may be used by many goroutines
// at once and does not change.
type Verifier struct {
	scheme   *Scheme
	proofs   []*proof
	identity *Identity
	secrets  int
	places   int // how many keys all proofs have

	handshakes []*handshake
	sealed     *sealed // nil where nothing is encrypted
	options    Options
	scratches  sync.Pool
}

// proof is one form of a scheme, ready for use.
type proof struct {
	*Proof
	collector *collector
	message   *Template
	form      *form // takes the place of message
	timestamp *Template
	keyID     *Template
	keyURL    *keyURL
	service   *keyService // nil where its keys are pinned
	require   []requirement
	keys      []*key
	complete  bool // the message names nothing that a request can lack

	idSigned, typeSigned []bool // by template
	keysSigned           bool
}

type requirement struct {
	template *Template
	value    string
}

// Options is what some schemes need beside their secrets.
type Options struct {
	// Keys gets the keys that providers publish. Schemes whose keys are fetched
	// need it unless their keys are pinned.
	Keys *KeyCache
	// Token is the verify token of providers whose handshake has one of its own.
	Token []byte
	// Expecting says that the handshake is to bring the secret: then there may
	// be none yet, and a handshake that brings one is answered.
	Expecting bool
}

// Verdict says what a verified request is.
type Verdict struct {
	// Scheme is the name of the scheme.
	Scheme string
	// Secret is the index of the secret that matched.
	Secret int
	// EventID is the sender's own id of the event, empty if it sent none.
	EventID string
	// Type is the event type, empty if there is none.
	Type string
	// Identity holds the parts of the dedupe key, nil if the scheme has no
	// rule or the request lacks a part. They are not to be changed.
	Identity [][]byte
	// Timestamp is when the request was signed, zero if the scheme does not say.
	Timestamp time.Time
}

// Compile binds the scheme to its secrets, the first being the one that signs.
// ErrNoSecret says that there is none or an empty one, ErrKey that one is not
// written as the scheme expects; neither text contains a secret.
func (s *Scheme) Compile(secrets [][]byte) (*Verifier, error) {
	return s.CompileWith(secrets, Options{})
}

// CompileWith is Compile with options.
func (s *Scheme) CompileWith(secrets [][]byte, o Options) (*Verifier, error) {
	v := &Verifier{scheme: s.Clone(), secrets: len(secrets), options: o}
	if len(secrets) == 0 && !s.Keyless() && (!o.Expecting || !s.learns()) {
		return nil, fmt.Errorf("scheme %s: %w", s.Name, ErrNoSecret)
	}
	var err error
	if v.identity, err = compileIdentity(v.scheme); err != nil {
		return nil, fmt.Errorf("scheme %s: %w", s.Name, err)
	}
	for _, described := range v.scheme.proofs() {
		p, err := compileProof(described)
		if err != nil {
			return nil, fmt.Errorf("scheme %s: %w", s.Name, err)
		}
		p.noteSigned(v.identity)
		if err := p.bind(secrets, o); err != nil {
			return nil, fmt.Errorf("scheme %s: %w", s.Name, err)
		}
		for _, k := range p.keys {
			k.place = v.places
			v.places++
		}
		v.proofs = append(v.proofs, p)
	}
	if v.handshakes, err = compileHandshakes(v.scheme); err != nil {
		return nil, fmt.Errorf("scheme %s: %w", s.Name, err)
	}
	if v.sealed, err = compileSealed(v.scheme); err != nil {
		return nil, fmt.Errorf("scheme %s: %w", s.Name, err)
	}
	v.sealed.bind(secrets)
	return v, nil
}

// bind decodes the secrets.
func (p *proof) bind(secrets [][]byte, o Options) error {
	if p.keyURL != nil {
		return p.bindFetched(secrets, o)
	}
	if p.service != nil {
		return p.bindService(secrets, o)
	}
	for i, secret := range secrets {
		k, err := newKey(p.Proof, secret)
		if err != nil {
			return fmt.Errorf("secret %d of %d: %w", i+1, len(secrets), err)
		}
		k.index = i
		p.keys = append(p.keys, k)
	}
	return nil
}

// Scheme returns the description that the verifier was made of. It is not to be changed.
func (v *Verifier) Scheme() *Scheme { return v.scheme }

// TimestampTolerance is how long a received signature stays fresh. It is false
// if the scheme signs no timestamp that [Verifier.Sign] could make again.
func (v *Verifier) TimestampTolerance() (time.Duration, bool) {
	p := v.proofs[0]
	if !p.canStamp() || len(p.keys) == 0 || p.keys[0].sign == nil {
		return 0, false
	}
	return p.Timestamp.tolerance()
}

// compileProof parses and checks everything but the secrets.
func compileProof(described *Proof) (*proof, error) {
	p := &proof{Proof: described}
	if err := described.Signature.check(); err != nil {
		return nil, err
	}
	if err := described.checkKey(); err != nil {
		return nil, err
	}
	if err := p.compileMessage(); err != nil {
		return nil, err
	}
	if err := p.compileTimestamp(); err != nil {
		return nil, err
	}
	if described.KeyID != "" {
		var err error
		if p.keyID, err = parseTemplate(described.KeyID); err != nil {
			return nil, fmt.Errorf("key_id: %w", err)
		}
	}
	if err := p.compileKeyURL(); err != nil {
		return nil, err
	}
	if err := p.compileKeyService(); err != nil {
		return nil, err
	}
	p.collector = newCollector(described.Signature, p.usedFields())
	for _, text := range sortedKeys(described.Require) {
		t, err := ParseTemplate(text)
		if err != nil {
			return nil, fmt.Errorf("require: %w", err)
		}
		p.require = append(p.require, requirement{t, described.Require[text]})
	}
	return p, nil
}

// compileMessage parses the signed text. Of a form without a template it keeps
// what the text is made of, for the sake of the identity.
func (p *proof) compileMessage() error {
	text := p.Message
	switch {
	case p.Canonical != "":
		var ok bool
		if p.form, ok = forms[p.Canonical]; !ok || p.Message != "" {
			return fmt.Errorf("%w: unknown canonical form %q, or a message beside it", ErrInvalid, p.Canonical)
		}
		text = p.form.covers
	case p.JWT != nil:
		text = p.JWT.covers()
	case text == "":
		text = body
	}
	var err error
	if p.message, err = parseTemplate(text); err != nil {
		return fmt.Errorf("message: %w", err)
	}
	if p.message.first(eventIDPart, typePart, sourcePart, challengePart, answerPart, keyIDPart) != nil {
		return fmt.Errorf("%w: message: a signed text is made of the request alone", ErrTemplate)
	}
	p.complete = !slices.ContainsFunc(p.message.parts, func(m part) bool {
		return !slices.Contains([]kind{literalPart, bodyPart, secretPart, timestampPart}, m.kind)
	})
	if hasSecret := p.message.first(secretPart) != nil; hasSecret != (p.Algorithm == DigestSHA256) && p.form == nil {
		return fmt.Errorf("%w: the message of %s, and of no other algorithm, contains {http.relay.secret}", ErrInvalid, DigestSHA256)
	}
	return nil
}

func (p *proof) compileTimestamp() error {
	if p.Timestamp == nil {
		if p.message.first(timestampPart) != nil {
			return fmt.Errorf("%w: the message names the timestamp and the scheme has none", ErrInvalid)
		}
		return nil
	}
	if err := p.Timestamp.Unit.check(); err != nil {
		return err
	}
	var err error
	if p.timestamp, err = parseTemplate(p.Timestamp.Value); err != nil {
		return fmt.Errorf("timestamp: %w", err)
	}
	if len(p.timestamp.parts) == 0 || p.timestamp.first(timestampPart, secretPart, eventIDPart, typePart, sourcePart) != nil {
		return fmt.Errorf("%w: timestamp: it is made of the request alone", ErrTemplate)
	}
	if p.message.first(timestampPart) == nil && !covers(p.message, p.timestamp) {
		return fmt.Errorf("%w: the timestamp is not part of the signed message, so that anyone can change it", ErrInvalid)
	}
	return nil
}

// usedFields lists the fields of the signature header that a template names.
func (p *proof) usedFields() []string {
	var used []string
	if p.form != nil {
		used = append(used, p.form.fields...)
	}
	for _, t := range []*Template{p.message, p.timestamp, p.keyID} {
		if t == nil {
			continue
		}
		for _, part := range t.parts {
			if part.kind == signatureFieldPart {
				used = append(used, part.name)
			}
		}
	}
	return used
}

// checkKey reports an algorithm and a form of key that do not exist or do not go together.
func (p *Proof) checkKey() error {
	if p.JWT != nil {
		return p.JWT.check()
	}
	asymmetric := false
	switch p.Algorithm {
	case HMACSHA1, HMACSHA256, HMACSHA384, HMACSHA512, DigestSHA256, Token, Ed25519:
	case ECDSASHA256, ECDSASHA1, RSASHA256, RSASHA1:
		asymmetric = true
	default:
		return fmt.Errorf("%w: unknown algorithm %q", ErrInvalid, p.Algorithm)
	}
	fits := p.KeyURL != nil || p.KeyService != nil || !asymmetric
	switch p.Key {
	case "", RawKey, HexKey, Base64Key, Base64URLKey, SHA1Key:
	case StandardKey, StandardOrRawKey:
		fits = fits && p.Signature.Format == Tagged
	case PEMKey, SPKIKey:
		fits = asymmetric || p.Algorithm == Ed25519
	default:
		return fmt.Errorf("%w: unknown form of key %q", ErrInvalid, p.Key)
	}
	if !fits {
		return fmt.Errorf("%w: algorithm %s does not go with a key of form %s", ErrInvalid, p.Algorithm, cmp.Or(p.Key, RawKey))
	}
	return nil
}

// noteSigned notes which parts of the identity this form of the proof covers.
func (p *proof) noteSigned(i *Identity) {
	covered := func(t *Template) bool {
		return covers(p.message, t) || p.timestamp != nil && p.message.first(timestampPart) != nil && covers(p.timestamp, t)
	}
	for _, t := range i.ids {
		p.idSigned = append(p.idSigned, covered(t))
	}
	for _, t := range i.types {
		p.typeSigned = append(p.typeSigned, covered(t))
	}
	p.keysSigned = true
	for _, t := range i.keys {
		p.keysSigned = p.keysSigned && covered(t)
	}
}
