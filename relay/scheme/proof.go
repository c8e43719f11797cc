// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Algorithm is how a signature is made.
type Algorithm string

// The algorithms. SHA-1 is for providers that have nothing better.
const (
	HMACSHA1   Algorithm = "hmac-sha1"
	HMACSHA256 Algorithm = "hmac-sha256"
	HMACSHA384 Algorithm = "hmac-sha384"
	HMACSHA512 Algorithm = "hmac-sha512"
	// DigestSHA256 is the plain digest of a text that contains the secret.
	DigestSHA256 Algorithm = "digest-sha256"
	Ed25519      Algorithm = "ed25519"
	// ECDSASHA256 is ECDSA on P-256 in ASN.1.
	ECDSASHA256 Algorithm = "ecdsa-p256-sha256"
	ECDSASHA1   Algorithm = "ecdsa-sha1"
	// RSASHA256 is PKCS #1 v1.5.
	RSASHA256 Algorithm = "rsa-sha256"
	RSASHA1   Algorithm = "rsa-sha1"
	// Token compares a fixed text: it proves who sends and covers nothing.
	Token Algorithm = "token"
)

// Encoding is how the bytes of a signature are written. Decoding is strict:
// the whole text, of the right length, without stray bits. Hex may be in
// either case.
type Encoding string

// The encodings.
const (
	Hex       Encoding = "hex"
	Base64    Encoding = "base64"
	Base64URL Encoding = "base64url" // with or without padding
	Text      Encoding = "text"      // as it is, for tokens
)

// KeyForm is how a secret is written in the configuration.
type KeyForm string

// The forms of keys.
const (
	// RawKey takes the bytes of the secret as they are.
	RawKey KeyForm = "raw"
	// HexKey decodes hexadecimal digits.
	HexKey KeyForm = "hex"
	// Base64Key decodes base64, padded or not.
	Base64Key KeyForm = "base64"
	// Base64URLKey decodes base64url, padded or not.
	Base64URLKey KeyForm = "base64url"
	// StandardKey is that of Standard Webhooks: base64, behind `whsec_` or
	// bare, for HMAC; `whpk_` and `whsk_` for ed25519.
	StandardKey KeyForm = "whsec"
	// StandardOrRawKey is StandardKey, but a secret without a prefix is raw.
	StandardOrRawKey KeyForm = "whsec-or-raw"
	// SHA1Key is the SHA-1 of the secret.
	SHA1Key KeyForm = "sha1"
	// PEMKey is a public key, a certificate or a private key in PEM, its lines
	// possibly joined.
	PEMKey KeyForm = "pem"
	// SPKIKey is the base64 of a public key in DER, or of a private key in PKCS #8.
	SPKIKey KeyForm = "spki-base64"
)

// Format is how the value that carries a signature is divided.
type Format string

// The formats.
const (
	// Plain is one signature, behind the prefix if there is one.
	Plain Format = "plain"
	// KeyValue is fields `name=value`, those named by the tag being signatures.
	KeyValue Format = "fields"
	// Tagged is elements `version,signature`.
	Tagged Format = "tagged"
	// List is bare signatures.
	List Format = "list"
	// Positional is a field, then signatures.
	Positional Format = "positional"
	// Pairs is elements `key id|signature`.
	Pairs Format = "pairs"
	// Detached is a JSON Web Signature without its payload; its protected header
	// is known as the field.
	Detached Format = "detached-jws"
	// Base64JSON is base64 of a JSON object whose value under the tag is the signature.
	Base64JSON Format = "base64-json"
)

// Unit is how a timestamp is written.
type Unit string

// The units.
const (
	// AutoUnit takes digits for seconds or, from 12 digits on, milliseconds,
	// and else RFC 3339, without a zone as UTC.
	AutoUnit     Unit = ""
	Seconds      Unit = "s"
	Milliseconds Unit = "ms"
	RFC3339      Unit = "rfc3339"
	// ISOUTC is RFC 3339 without a zone.
	ISOUTC Unit = "iso-utc"
)

// DefaultTolerance is how far from now a signed timestamp may be where a
// scheme does not say: five minutes, in both directions.
const DefaultTolerance = 5 * time.Minute

const (
	// maxSignatures is how many signatures one header may list.
	maxSignatures = 16
	// maxAsymmetric is the same where a try costs a public key operation.
	maxAsymmetric = 4
	// maxNumbered is how many numbered headers are looked at.
	maxNumbered = 100
	// maxHeader is how long a header that carries signatures may be.
	maxHeader = 4 << 10
)

func (p *Proof) clone() Proof {
	c := *p
	c.Signature.More = slices.Clone(p.Signature.More)
	c.Require = maps.Clone(p.Require)
	if p.KeyURL != nil {
		u := *p.KeyURL
		c.KeyURL = &u
	}
	if p.KeyService != nil {
		k := *p.KeyService
		c.KeyService = &k
	}
	if p.JWT != nil {
		c.JWT = p.JWT.clone()
	}
	if p.Timestamp != nil {
		ts := *p.Timestamp
		c.Timestamp = &ts
	}
	return c
}

// tolerance is how far from now the timestamp may be; false if it is not enforced.
func (t *Timestamp) tolerance() (time.Duration, bool) {
	switch {
	case t.Tolerance < 0:
		return 0, false
	case t.Tolerance == 0:
		return DefaultTolerance, true
	default:
		return time.Duration(t.Tolerance), true
	}
}

// Validate says what is wrong with the description, or nil. It needs no secret.
func (s *Scheme) Validate() error {
	for _, p := range s.proofs() {
		if _, err := compileProof(p); err != nil {
			return fmt.Errorf("scheme %q: %w", s.Name, err)
		}
	}
	if _, err := compileIdentity(s); err != nil {
		return fmt.Errorf("scheme %q: %w", s.Name, err)
	}
	if _, err := compileSealed(s); err != nil {
		return fmt.Errorf("scheme %q: %w", s.Name, err)
	}
	if _, err := compileHandshakes(s); err != nil {
		return fmt.Errorf("scheme %q: %w", s.Name, err)
	}
	return nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// check reports a contradiction in where and how the signature is written.
func (s *Signature) check() error {
	places := 0
	for _, place := range []string{s.Header, s.Body, s.Form, s.Query} {
		if place != "" {
			places++
		}
	}
	if s.Whole {
		places++
	}
	if places != 1 {
		return fmt.Errorf("%w: a signature is in exactly one of header, body, form, query and the whole body", ErrInvalid)
	}
	if s.Header == "" && (s.Numbered || s.Lines || len(s.More) > 0) {
		return fmt.Errorf("%w: numbered, lines and more belong to a header", ErrInvalid)
	}
	switch s.Format {
	case "", Plain, List, Pairs:
	case KeyValue, Tagged, Base64JSON:
		if s.Tag == "" {
			return fmt.Errorf("%w: format %s needs a tag", ErrInvalid, s.Format)
		}
	case Positional, Detached:
		if s.Field == "" {
			return fmt.Errorf("%w: format %s needs a field", ErrInvalid, s.Format)
		}
	default:
		return fmt.Errorf("%w: unknown format %q", ErrInvalid, s.Format)
	}
	switch s.Encoding {
	case "", Hex, Base64, Base64URL, Text:
		return nil
	default:
		return fmt.Errorf("%w: unknown encoding %q (hex, base64, base64url, text)", ErrInvalid, s.Encoding)
	}
}
