// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha1" //nolint:gosec // Braintree derives its keys with it
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// key is one secret, decoded and bound to its algorithm.
type key struct {
	// id is the name that requests call the key by, if the scheme has such names.
	id string
	// index is the place of its secret in the list.
	index int
	// place is its number among all keys of the verifier.
	place int
	// tag is the version of a tagged list that it answers for.
	tag string
	// size is the length of its signatures in bytes, 0 if it varies.
	size int
	// jwt is the key as the parser of tokens takes it; nil for other schemes.
	jwt any
	// sum makes the only right signature; nil if the key is asymmetric.
	sum func(m *message, s *scratch) []byte
	// check verifies a signature; nil if the key is symmetric.
	check func(m *message, s *scratch, signature []byte) bool
	// sign makes a signature; nil if the key is public.
	sign func(m *message, s *scratch) []byte
}

// newKey decodes a secret for a proof. No error contains the secret.
func newKey(p *Proof, secret []byte) (*key, error) {
	if len(bytes.TrimSpace(secret)) == 0 {
		return nil, ErrNoSecret
	}
	if !p.namesKeys() {
		return newNamelessKey(p, secret)
	}
	id, rest, ok := bytes.Cut(secret, []byte(":"))
	if !ok || len(id) == 0 || len(bytes.TrimSpace(rest)) == 0 {
		return nil, fmt.Errorf("%w: it must be written <key id>:<secret>, as the requests name their key", ErrKey)
	}
	k, err := newNamelessKey(p, rest)
	if err != nil {
		return nil, err
	}
	k.id = string(id)
	return k, nil
}

// namesKeys reports whether requests tell the id of their key.
func (p *Proof) namesKeys() bool {
	return p.KeyID != "" || p.Signature.Format == Pairs || p.JWT != nil && p.JWT.KeyIDs
}

func newNamelessKey(p *Proof, secret []byte) (*key, error) {
	if p.JWT != nil {
		return p.newJWTKey(secret)
	}
	switch p.Key {
	case StandardKey, StandardOrRawKey:
		return newStandardKey(p, secret)
	case PEMKey:
		parsed, err := parsePEM(secret)
		if err != nil {
			return nil, err
		}
		return newAsymmetric(p.Algorithm, p.Signature.Tag, parsed)
	case SPKIKey:
		parsed, err := parseSPKI(secret)
		if err != nil {
			return nil, err
		}
		return newAsymmetric(p.Algorithm, p.Signature.Tag, parsed)
	}
	raw, err := decodeKey(p.Key, secret)
	if err != nil {
		return nil, err
	}
	return bindKey(p.Algorithm, p.Signature.Tag, raw)
}

// bindKey makes a key of decoded bytes.
func bindKey(alg Algorithm, tag string, raw []byte) (*key, error) {
	switch alg {
	case HMACSHA1, HMACSHA256, HMACSHA384, HMACSHA512:
		return newMAC(alg, tag, raw), nil
	case DigestSHA256:
		return newDigest(tag, raw), nil
	case Token:
		return newToken(tag, raw), nil
	case Ed25519:
		if len(raw) == ed25519.PrivateKeySize {
			return newEd25519Private(tag, ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])), nil
		}
		return newEd25519(tag, raw)
	case ECDSASHA256, ECDSASHA1, RSASHA256, RSASHA1:
		return nil, fmt.Errorf("%w: algorithm %s needs a key of form pem or spki-base64", ErrInvalid, alg)
	default:
		return nil, fmt.Errorf("%w: unknown algorithm %q", ErrInvalid, alg)
	}
}

// decodeKey undoes the form in which a secret is written.
func decodeKey(form KeyForm, secret []byte) ([]byte, error) {
	switch form {
	case "", RawKey:
		return bytes.Clone(secret), nil
	case SHA1Key:
		sum := sha1.Sum(secret) //nolint:gosec // the provider's way to derive a key
		return sum[:], nil
	case HexKey:
		raw, err := hex.DecodeString(string(bytes.TrimSpace(secret)))
		if err != nil || len(raw) == 0 {
			return nil, fmt.Errorf("%w: it must be hexadecimal digits, an even number of them", ErrKey)
		}
		return raw, nil
	case Base64Key:
		return decodeBase64Key(secret, base64RawStrict, "base64")
	case Base64URLKey:
		return decodeBase64Key(secret, base64URLStrict, "base64url")
	default:
		return nil, fmt.Errorf("%w: unknown form of key %q", ErrInvalid, form)
	}
}

func decodeBase64Key(secret []byte, encoding *base64.Encoding, name string) ([]byte, error) {
	text := bytes.TrimRight(bytes.TrimSpace(secret), "=")
	raw, err := encoding.DecodeString(string(text))
	if err != nil || len(raw) == 0 || bytes.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("%w: it must be %s", ErrKey, name)
	}
	return raw, nil
}

// newStandardKey decodes a key of Standard Webhooks. Its prefix, not the
// request, decides between HMAC and ed25519; ed25519 answers for the tag
// with an `a` behind it, so that neither key can be met by the other's tag.
func newStandardKey(p *Proof, secret []byte) (*key, error) {
	secret = bytes.TrimSpace(secret)
	asymmetric := p.Signature.Tag + "a"
	if rest, ok := bytes.CutPrefix(secret, []byte("whpk_")); ok {
		raw, err := decodeBase64Key(rest, base64RawStrict, "base64 behind whpk_")
		if err != nil {
			return nil, err
		}
		if len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: a whpk_ key holds 32 bytes", ErrKey)
		}
		return newEd25519(asymmetric, raw)
	}
	if rest, ok := bytes.CutPrefix(secret, []byte("whsk_")); ok {
		raw, err := decodeBase64Key(rest, base64RawStrict, "base64 behind whsk_")
		if err != nil {
			return nil, err
		}
		if len(raw) != ed25519.SeedSize && len(raw) != ed25519.PrivateKeySize {
			return nil, fmt.Errorf("%w: a whsk_ key holds 32 or 64 bytes", ErrKey)
		}
		return newEd25519Private(asymmetric, ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])), nil
	}
	rest, prefixed := bytes.CutPrefix(secret, []byte("whsec_"))
	if !prefixed && p.Key == StandardOrRawKey {
		return bindKey(p.Algorithm, p.Signature.Tag, bytes.Clone(secret))
	}
	raw, err := decodeBase64Key(rest, base64RawStrict, "base64, with or without whsec_ before it")
	if err != nil {
		return nil, err
	}
	return bindKey(p.Algorithm, p.Signature.Tag, raw)
}
