// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // eBay and old SNS messages are signed over it
	_ "crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"regexp"
)

var pemBlock = regexp.MustCompile(`(?s)-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END`)

// parsePEM reads a public key, certificate or private key in PEM, also with
// its lines joined or written with `\n`, as environments and APIs give it.
func parsePEM(text []byte) (any, error) {
	found := pemBlock.FindSubmatch(text)
	if found == nil {
		return nil, fmt.Errorf("%w: it must be a key in PEM, beginning with -----BEGIN", ErrKey)
	}
	content := bytes.ReplaceAll(found[2], []byte(`\n`), nil)
	content = bytes.Join(bytes.Fields(content), nil)
	der, err := base64.StdEncoding.DecodeString(string(content))
	if err != nil {
		return nil, fmt.Errorf("%w: its PEM can not be decoded", ErrKey)
	}
	return parseDER(&pem.Block{Type: string(found[1]), Bytes: der})
}

func parseDER(block *pem.Block) (any, error) {
	var parsed any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		parsed, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		parsed, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			parsed = certificate.PublicKey
		}
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%w: a PEM block %q is neither a key nor a certificate", ErrKey, block.Type)
	}
	if err != nil {
		// What x509 says may quote the input.
		return nil, fmt.Errorf("%w: its PEM block %q can not be read", ErrKey, block.Type)
	}
	return parsed, nil
}

// parseSPKI reads a public key in DER or a private key in PKCS #8, in base64.
func parseSPKI(secret []byte) (any, error) {
	der, err := decodeBase64Key(secret, base64RawStrict, "base64 of a public key")
	if err != nil {
		return nil, err
	}
	if parsed, err := x509.ParsePKIXPublicKey(der); err == nil {
		return parsed, nil
	}
	if parsed, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return parsed, nil
	}
	return nil, fmt.Errorf("%w: it must be base64 of a public key in DER", ErrKey)
}

// newAsymmetric binds a parsed public or private key to an algorithm, and
// refuses one of another kind.
func newAsymmetric(alg Algorithm, tag string, parsed any) (*key, error) {
	signer, _ := parsed.(crypto.Signer)
	public := parsed
	if signer != nil {
		public = signer.Public()
	}
	var k *key
	switch p := public.(type) {
	case ed25519.PublicKey:
		if alg == Ed25519 {
			if private, ok := parsed.(ed25519.PrivateKey); ok {
				return newEd25519Private(tag, private), nil
			}
			return newEd25519(tag, p)
		}
	case *ecdsa.PublicKey:
		if alg == ECDSASHA256 && p.Curve == elliptic.P256() || alg == ECDSASHA1 {
			k = &key{tag: tag, check: func(m *message, s *scratch, signature []byte) bool {
				return ecdsa.VerifyASN1(p, m.digest(alg, s), signature)
			}}
		}
	case *rsa.PublicKey:
		if alg == RSASHA256 || alg == RSASHA1 {
			k = &key{tag: tag, size: p.Size(), check: func(m *message, s *scratch, signature []byte) bool {
				return rsa.VerifyPKCS1v15(p, alg.hash(), m.digest(alg, s), signature) == nil
			}}
		}
	}
	if k == nil {
		return nil, fmt.Errorf("%w: a key of another kind than %s needs", ErrKey, alg)
	}
	if signer != nil {
		k.sign = func(m *message, s *scratch) []byte {
			signature, err := signer.Sign(rand.Reader, m.digest(alg, s), alg.hash())
			if err != nil {
				return nil
			}
			return signature
		}
	}
	return k, nil
}

// hash is the hash under a public key algorithm.
func (a Algorithm) hash() crypto.Hash {
	if a == ECDSASHA1 || a == RSASHA1 {
		return crypto.SHA1
	}
	return crypto.SHA256
}

// digest hashes the signed text for a public key algorithm.
func (m *message) digest(alg Algorithm, s *scratch) []byte {
	h := alg.hash().New()
	m.hashInto(h, s)
	return h.Sum(s.sum[:0])
}
