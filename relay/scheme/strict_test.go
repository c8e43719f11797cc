// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPlainSignatureIsOneLine(t *testing.T) {
	for _, name := range []string{"github", "shopify", "slack", "square", "discord"} {
		v := exampleVerifier(t, preset(t, name))
		r := signed(t, v, post("{}"), "", noon)
		header := http.CanonicalHeaderKey(v.scheme.Signature.Header)
		good := r.Header[header][0]
		for _, lines := range [][]string{{good, "x"}, {"x", good}, {good, good}, {good, ""}} {
			r.Header[header] = lines
			if _, err := v.Verify(r, noon); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s %q: %v", name, lines, err)
			}
		}
	}
}

func TestTrailingBitsOfBase64AreChecked(t *testing.T) {
	for _, name := range []string{"shopify", "sanity", "standard_webhooks"} {
		v := exampleVerifier(t, preset(t, name))
		r := signed(t, v, post("{}"), "id", noon)
		header := http.CanonicalHeaderKey(v.scheme.Signature.Header)
		good := r.Header[header][0]
		i := strings.LastIndexFunc(good, func(c rune) bool { return c != '=' })
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
		at := strings.IndexByte(strings.NewReplacer("-+", "_/").Replace(alphabet), good[i])
		r.Header[header] = []string{good[:i] + string(alphabet[at^1]) + good[i+1:]}
		if _, err := v.Verify(r, noon); err == nil {
			t.Errorf("%s takes %q for %q", name, r.Header[header][0], good)
		}
	}
}

func TestUnitOfATimeIsToldByItsShape(t *testing.T) {
	const at = "{http.request.header.X-T}"
	s := &Scheme{Proof: Proof{
		Signature: Signature{Header: "X-S"}, Algorithm: HMACSHA256, Message: at + body, Timestamp: &Timestamp{Value: at},
	}}
	v := mustCompile(t, s, "secret")
	for text, want := range map[string]string{
		"1750000000": "1750000100", "1750000000000": "1750000100000",
		"2025-06-15T15:06:40Z": "2025-06-15T15:08:20Z", "2025-06-15T17:06:40.000+02:00": "2025-06-15T15:08:20Z",
		"2025-06-15T15:06:40.5": "2025-06-15T15:08:20",
	} {
		r := post("{}")
		r.Header.Set("X-T", text)
		again := signed(t, v, r, "", noon.Add(100*time.Second))
		if got := again.Header.Get("X-T"); got != want {
			t.Errorf("%s is made again as %s, expected %s", text, got, want)
		}
		if _, err := v.Verify(again, noon.Add(100*time.Second)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestUnsignedBodyJoinsTheIdentity(t *testing.T) {
	v := exampleVerifier(t, preset(t, "mercadopago"))
	r := signed(t, v, post(`{"id":1}`), "", noon)
	one, err := v.Verify(r, noon)
	if err != nil || len(one.Identity) != 3 {
		t.Errorf("%q %v", one.Identity, err)
	}
}

// The parameters and the signature are those of the tests of twilio-python.
func TestTwilioSignsEachValueOfANameOnce(t *testing.T) {
	v := mustCompile(t, preset(t, "twilio"), "12345")
	form := url.Values{"Sid": {"CA123"}, "SidAccount": {"AC123"}, "Digits": {"5678", "1234", "1234"}}
	r := &Request{Method: "POST", URL: "https://mycompany.com/myapp.php?foo=1&bar=2", Header: http.Header{
		"X-Twilio-Signature": {"IK+Dwps556ElfBT0I3Rgjkr1wJU="}, "Content-Type": {"application/x-www-form-urlencoded"},
	}, Body: []byte(form.Encode())}
	if _, err := v.Verify(r, noon); err != nil {
		t.Error(err)
	}
}

func TestAnUnsetVerifyTokenFitsNothing(t *testing.T) {
	v := mustCompile(t, preset(t, "meta"), "secret")
	for _, token := range []string{"", "x"} {
		r := &Request{Method: "GET", URL: "https://example.com/?hub.mode=subscribe&hub.challenge=1&hub.verify_token=" + token}
		if a, err := v.Handshake(r, noon); a == nil || a.Status != 403 || len(a.Body) > 0 || !errors.Is(err, ErrMismatch) {
			t.Errorf("%q: %+v %v", token, a, err)
		}
	}
}

func TestSecretsAreDecodedStrictly(t *testing.T) {
	for form, secrets := range map[KeyForm][]string{
		Base64Key: {"AAAA\nBBBB", "AAAAA", "AAB", "A-_A"}, Base64URLKey: {"A+/A"}, HexKey: {"abc", "0x00", "zz"},
		PEMKey: {"x", "-----BEGIN PUBLIC KEY-----AAAA-----END PUBLIC KEY-----"}, SPKIKey: {"AAAA", "!"},
	} {
		for _, secret := range secrets {
			p := Proof{Signature: Signature{Header: "X-S"}, Algorithm: HMACSHA256, Key: form}
			if form == PEMKey || form == SPKIKey {
				p.Algorithm = RSASHA256
			}
			if _, err := (&Scheme{Proof: p}).Compile([][]byte{[]byte(secret)}); !errors.Is(err, ErrKey) {
				t.Errorf("%s %q: %v", form, secret, err)
			}
		}
	}
}

func TestKeyOfAnotherKindIsRefused(t *testing.T) {
	ec, rs := exampleSecret(&Proof{Algorithm: ECDSASHA256, Key: PEMKey}), exampleSecret(&Proof{Algorithm: RSASHA256, Key: PEMKey})
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384 := &Scheme{Proof: Proof{Signature: Signature{Header: "X-S"}, Algorithm: ECDSASHA256, Key: SPKIKey}}
	if _, err := p384.Compile([][]byte{[]byte(base64.StdEncoding.EncodeToString(pkcs8(k)))}); !errors.Is(err, ErrKey) {
		t.Errorf("P-384: %v", err)
	}
	for alg, secret := range map[Algorithm]string{RSASHA256: ec, ECDSASHA256: rs, Ed25519: rs} {
		s := &Scheme{Proof: Proof{Signature: Signature{Header: "X-S", Encoding: Base64}, Algorithm: alg, Key: PEMKey}}
		if _, err := s.Compile([][]byte{[]byte(secret)}); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", alg, err)
		}
		s.Key = RawKey
		if err := s.Validate(); alg != Ed25519 && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s with a raw key: %v", alg, err)
		}
	}
}

func TestTooManyAsymmetricSignaturesAreNotTried(t *testing.T) {
	v := mustCompile(t, preset(t, "standard_webhooks"), "whsk_"+strings.Repeat("A", 43))
	r := signed(t, v, post("{}"), "id", noon)
	good := r.Header.Get("webhook-signature")
	bad := "v1a," + strings.Repeat("A", 86) + "== "
	for n, ok := range map[int]bool{3: true, 4: false} {
		r.Header.Set("webhook-signature", strings.Repeat(bad, n)+good)
		if _, err := v.Verify(r, noon); (err == nil) != ok {
			t.Errorf("after %d others: %v", n, err)
		}
	}
}

func TestFieldsAreDividedAlikeInOneGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`(t|v1|x|)=?[0-9=]{0,4}(,(t|v1|v0|)=?[0-9=]{0,4}){0,20}`).Draw(t, "value")
		c := newCollector(Signature{Header: "X-S", Format: KeyValue, Tag: "v1"}, []string{"t"})
		var quick, slow scratch
		a, b := c.divideFields(value, &quick), c.divideList(value, &slow)
		if a != b || a == "" && (!slices.Equal(quick.found, slow.found) || !slices.Equal(quick.fields, slow.fields)) {
			t.Fatalf("%q: %q %v %v, %q %v %v", value, a, quick.found, quick.fields, b, slow.found, slow.fields)
		}
	})
}
