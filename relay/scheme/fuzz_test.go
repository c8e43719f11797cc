// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
)

// FuzzSignatureHeader feeds every preset's parser: no panic, no error that is
// not a failure, and nothing accepted that is not signed.
func FuzzSignatureHeader(f *testing.F) {
	f.Add("t=1750000000,v1=00", "1750000000", []byte("{}"))
	f.Add("v1,AAAA v1a,AAAA", "2024-03-27T15:42:29.551", []byte(`{"a":1}`))
	f.Add("sha256="+strings.Repeat("0", 64), "", []byte("a=b"))
	f.Add(strings.Repeat(",", 5000), "-1", []byte(nil))
	verifiers := allVerifiers(f)
	f.Fuzz(func(t *testing.T, value, time string, body []byte) {
		for _, v := range verifiers {
			r := post(string(body))
			for _, p := range v.proofs {
				for _, header := range p.collector.headers[:min(2, len(p.collector.headers))] {
					r.Header[header] = []string{value}
				}
				for _, template := range []*Template{p.message, p.timestamp} {
					if template == nil {
						continue
					}
					for _, part := range template.parts {
						if part.kind == headerPart {
							r.Header[part.name] = []string{time}
						}
					}
				}
			}
			_, err := v.Verify(r, noon)
			failure, ok := errors.AsType[*Failure](err)
			if !ok {
				t.Fatalf("%s accepted %q", v.scheme.Name, value)
			}
			_ = failure.Detail()
		}
	})
}

// FuzzSecret feeds the decoders of keys: no panic, and no secret in an error.
func FuzzSecret(f *testing.F) {
	f.Add("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	f.Add("whpk_AAAA")
	f.Add("whsk_")
	f.Add("-----BEGIN PUBLIC KEY-----")
	f.Fuzz(func(t *testing.T, secret string) {
		for _, form := range []KeyForm{RawKey, HexKey, Base64Key, Base64URLKey, StandardKey, StandardOrRawKey} {
			s := &Scheme{Name: "s", Proof: Proof{
				Signature: Signature{Header: "X-S", Format: Tagged, Tag: "v1"}, Algorithm: HMACSHA256, Key: form,
			}}
			_, err := s.Compile([][]byte{[]byte(secret)})
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrKey) && !errors.Is(err, ErrNoSecret) {
				t.Fatal(err)
			}
			if len(secret) > 12 && strings.Contains(err.Error(), secret) {
				t.Fatal("the error holds the secret")
			}
		}
	})
}

// FuzzHandshake feeds every preset's questions: no panic, and no answer over
// 4 KiB or with what could be markup.
func FuzzHandshake(f *testing.F) {
	f.Add("GET", "challenge=abc&hub.challenge=1&hub.mode=subscribe", []byte("{}"), "x")
	f.Add("POST", "validationToken=a%20b", []byte(`{"type":"url_verification","challenge":"x"}`), "y")
	f.Fuzz(func(t *testing.T, method, query string, body []byte, value string) {
		r := post(string(body))
		r.Method, r.URL = method, r.URL+"&"+query
		for _, name := range []string{"X-Hook-Secret", "X-Okta-Verification-Challenge", "X-Gcs-Webhooks-Endpoint-Verification"} {
			r.Header[name] = []string{value}
		}
		for _, v := range allVerifiers(t) {
			a, _ := v.Handshake(r, noon)
			if a == nil {
				continue
			}
			if len(a.Body) > 4<<10 || a.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Fatalf("%s answers %q", v.scheme.Name, a.Body)
			}
			if a.Header.Get("Content-Type") == jsonType && !json.Valid(a.Body) {
				t.Fatalf("%s answers with broken JSON %q", v.scheme.Name, a.Body)
			}
		}
	})
}

var verifiersOnce struct {
	sync.Once
	all []*Verifier
}

// allVerifiers compiles every preset once.
func allVerifiers(t testing.TB) []*Verifier {
	verifiersOnce.Do(func() {
		for _, name := range Names() {
			verifiersOnce.all = append(verifiersOnce.all, exampleVerifier(t, preset(t, name)))
		}
	})
	return verifiersOnce.all
}

// FuzzKeyAnswers feeds what key services may answer: no panic, and no key that is
// not a public one of the algorithm.
func FuzzKeyAnswers(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"AA","y":"AA"},{"kty":"oct","k":"AAAA"}]}`), "k")
	f.Add([]byte(`{"key":{"kty":"EC","kid":"k","expired_at":1}}`), "k")
	f.Add([]byte(`{"key":"-----BEGIN PUBLIC KEY-----MFkw-----END PUBLIC KEY-----"}`), "")
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","x":"AAAA"}]}`), "")
	var proofs []*proof
	for _, name := range []string{"kinde", "plaid", "ebay", "constantcontact"} {
		p, err := compileProof(&preset(f, name).Proof)
		if err != nil {
			f.Fatal(err)
		}
		proofs = append(proofs, p)
	}
	f.Fuzz(func(t *testing.T, answer []byte, id string) {
		for _, p := range proofs {
			keys, err := p.service.keys(p, id, answer)
			for _, k := range keys {
				if err != nil || k.sum != nil || p.JWT == nil && k.check == nil || p.JWT != nil && k.jwt == nil {
					t.Fatalf("%q: %+v, %v", answer, k, err)
				}
				if _, symmetric := k.jwt.([]byte); symmetric || k.sign != nil {
					t.Fatalf("%q is no public key", answer)
				}
			}
		}
	})
}

// FuzzSealed feeds what may be an encrypted question: no panic, and nothing is
// answered that nobody has encrypted.
func FuzzSealed(f *testing.F) {
	f.Add("P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk=")
	f.Add("")
	v, err := preset(f, "lark").CompileWith([][]byte{[]byte("a key that is not in the corpus")}, Options{Token: []byte("token")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		body, _ := json.Marshal(map[string]string{"encrypt": text})
		if a, err := v.Handshake(post(string(body)), noon); a != nil || err != nil {
			t.Fatalf("%q: %+v, %v", text, a, err)
		}
	})
}
