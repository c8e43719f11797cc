// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

var (
	testRSA = sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return k
	})
	testECDSA = sync.OnceValue(func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return k
	})
)

// pkcs8 is a private key in DER.
func pkcs8(k any) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	return der
}

// exampleSecret is a secret that signs, written as the proof wants it.
func exampleSecret(p *Proof) string {
	raw := []byte("0123456789abcdef0123456789abcdef")
	var private any
	switch {
	case p.JWT != nil && p.JWT.Algorithms[0] == "ES256", p.Algorithm == ECDSASHA256, p.Algorithm == ECDSASHA1:
		private = testECDSA()
	case p.Algorithm == RSASHA256, p.Algorithm == RSASHA1, p.JWT != nil && p.JWT.Algorithms[0] == "RS256":
		private = testRSA()
	case p.Algorithm == Ed25519:
		raw = ed25519.NewKeyFromSeed(raw)
	}
	secret := string(raw)
	switch {
	case p.KeyURL != nil:
		return "WH-1"
	case p.Key == SPKIKey:
		secret = base64.StdEncoding.EncodeToString(pkcs8(private))
	case private != nil:
		secret = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(private)}))
	case p.Key == HexKey:
		secret = hex.EncodeToString(raw)
	case p.Key == Base64Key, p.Key == StandardKey:
		secret = base64.StdEncoding.EncodeToString(raw)
	}
	if p.namesKeys() {
		secret = "kid:" + secret
	}
	return secret
}

func exampleVerifier(t testing.TB, s *Scheme) *Verifier {
	t.Helper()
	o := Options{Token: []byte("token")}
	secrets := [][]byte{[]byte(exampleSecret(&s.Proof))}
	if s.KeyURL != nil {
		secrets = append(secrets, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(testRSA())}))
	}
	v, err := s.CompileWith(secrets, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// exampleRequest has all that the scheme's text may name.
func exampleRequest(v *Verifier, content string) *Request {
	r := post(fmt.Sprintf(`{"webhookTimestamp":%d,"id":"evt_1","type":"a.b","content":%q}`, noon.UnixMilli(), content))
	r.Header.Set("Content-Type", "application/json")
	if slices.Contains([]string{"twilio", "mandrill", "plivo"}, v.scheme.Name) {
		r.Body = []byte("CallSid=CA1&CallUUID=1&Text=" + hex.EncodeToString([]byte(content)) + "&x=yyyy")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, p := range v.proofs {
		for _, part := range p.message.parts {
			if part.kind == headerPart {
				r.Header.Set(part.name, "value-1")
			}
		}
	}
	r.Header.Set("X-Plivo-Signature-V3-Nonce", "n1")
	r.Header.Set("X-Contentful-Signed-Headers", "content-type,x-contentful-signed-headers,x-contentful-timestamp")
	return r
}

// signedInBody are the presets whose signature is in the body or whose key is
// the provider's own; they have tests or vectors of their own.
var signedInBody = []string{"adyen", "alipay", "braintree", "constantcontact", "figma", "kinde", "mailgun", "msgraph", "paypal", "plaid", "sns"}

func TestWhatEveryPresetSignsItVerifies(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			v := exampleVerifier(t, preset(t, name))
			_, err := v.Sign(exampleRequest(v, ""), "id-1", noon)
			if slices.Contains(signedInBody, name) {
				if !errors.Is(err, ErrCannotSign) {
					t.Fatalf("signs: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(t *rapid.T) {
				content := rapid.StringMatching(`[ -!#-\[\]-~é]{0,40}`).Draw(t, "content")
				checkRoundTrip(t, v, exampleRequest(v, content), rapid.StringMatching(`[a-z0-9_-]{1,20}`).Draw(t, "id"))
			})
		})
	}
}

func checkRoundTrip(t *rapid.T, v *Verifier, r *Request, id string) {
	set, err := v.Sign(r, id, noon)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = overlay(r.Header, set)
	if _, err := v.Verify(r, noon); err != nil {
		t.Fatalf("what was signed does not verify: %v", err)
	}
	p := v.proofs[0]
	// Any flipped bit in a signed part is refused.
	if p.message.first(bodyPart) != nil && p.Algorithm != Token {
		i := rapid.IntRange(0, len(r.Body)-1).Draw(t, "byte")
		if strings.ContainsRune(`{}":,`, rune(r.Body[i])) || v.scheme.Name == "linear" {
			i = len(r.Body) - 3
		}
		forged := *r
		forged.Body = slices.Clone(r.Body)
		forged.Body[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := v.Verify(&forged, noon); err == nil {
			t.Fatalf("accepted with byte %d changed: %q", i, forged.Body)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		forged := *r
		forged.Header = r.Header.Clone()
		value := []byte(forged.Header.Get(name))
		value[len(value)/2] ^= 1
		forged.Header.Set(name, string(value))
		if _, err := v.Verify(&forged, noon); err == nil {
			t.Fatalf("accepted with %s changed to %q", name, value)
		}
	}
}

func TestEveryPresetRefusesAnotherSecret(t *testing.T) {
	for _, name := range Names() {
		s := preset(t, name)
		if slices.Contains(signedInBody, name) || s.Algorithm == Ed25519 || s.Key == PEMKey || s.Key == SPKIKey {
			continue
		}
		v := exampleVerifier(t, s)
		secret := strings.ToUpper(exampleSecret(&s.Proof))
		switch s.Key {
		case HexKey:
			secret = strings.Repeat("ab", 32)
		case Base64Key, StandardKey:
			secret = "AAAAAAAAAAAAAAAAAAAAAAAA"
		}
		if s.namesKeys() {
			secret = "kid:" + secret[4:]
		}
		r := signed(t, v, exampleRequest(v, ""), "id", noon)
		if _, err := mustCompile(t, s, secret).Verify(r, noon); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
