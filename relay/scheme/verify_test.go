// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

var noon = time.Unix(1750000000, 0)

func mustCompile(t testing.TB, s *Scheme, secrets ...string) *Verifier {
	t.Helper()
	list := make([][]byte, len(secrets))
	for i, secret := range secrets {
		list[i] = []byte(secret)
	}
	v, err := s.Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func preset(t testing.TB, name string) *Scheme {
	t.Helper()
	s, ok := Preset(name)
	if !ok {
		t.Fatalf("no preset %s", name)
	}
	return s
}

func post(body string) *Request {
	return &Request{Method: "POST", URL: "https://example.com/hook?a=b", Host: "example.com", Header: make(http.Header), Body: []byte(body)}
}

// signed returns the request with the headers that v signs it with.
func signed(t testing.TB, v *Verifier, r *Request, id string, now time.Time) *Request {
	t.Helper()
	set, err := v.Sign(r, id, now)
	if err != nil {
		t.Fatal(err)
	}
	c := *r
	c.Header = overlay(r.Header, set)
	return &c
}

func reasonOf(t testing.TB, err error) *Failure {
	t.Helper()
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		t.Fatalf("error is %v, expected a failure", err)
	}
	return f
}

func TestVerifyTellsWhichSecretMatched(t *testing.T) {
	s := preset(t, "stripe")
	old := mustCompile(t, s, "second")
	r := signed(t, old, post(`{"id":"evt_1","type":"a.b"}`), "", noon)
	got, err := mustCompile(t, s, "first", "second", "third").Verify(r, noon)
	if err != nil || got.Secret != 1 || got.EventID != "evt_1" || got.Type != "a.b" || !got.Timestamp.Equal(noon) {
		t.Fatalf("got %+v, %v", got, err)
	}
	_, err = mustCompile(t, s, "first", "third").Verify(r, noon)
	f := reasonOf(t, err)
	if !errors.Is(err, ErrMismatch) || f.Status() != 401 || f.Secrets != 2 {
		t.Fatalf("got %v", err)
	}
	if want := "signature matches none of 2 secrets (body 27 B sha256 "; !strings.HasPrefix(f.Detail(), want) {
		t.Errorf("detail %q, expected %q...", f.Detail(), want)
	}
}

func TestVerifyRefusesStaleSignatureOnlyAfterTheMAC(t *testing.T) {
	v := mustCompile(t, preset(t, "stripe"), "secret")
	r := signed(t, v, post(`{"id":"evt_1"}`), "", noon)
	for _, c := range []struct {
		offset time.Duration
		ok     bool
		detail string
	}{
		{300 * time.Second, true, ""},
		{300*time.Second + time.Nanosecond, false, "signed 301 s ago, limit 300 s: clock of this host?"},
		{300*time.Second + 500*time.Millisecond, false, "signed 301 s ago, limit 300 s: clock of this host?"},
		{301 * time.Second, false, "signed 301 s ago, limit 300 s: clock of this host?"},
		{-300 * time.Second, true, ""},
		{-300*time.Second - time.Millisecond, false, "signed 301 s in the future, limit 300 s: clock of this host?"},
		{-301 * time.Second, false, "signed 301 s in the future, limit 300 s: clock of this host?"},
	} {
		_, err := v.Verify(r, noon.Add(c.offset))
		if (err == nil) != c.ok {
			t.Errorf("%v: %v", c.offset, err)
		}
		if !c.ok {
			if f := reasonOf(t, err); !errors.Is(err, ErrStale) || f.Status() != 400 || f.Detail() != c.detail {
				t.Errorf("%v: %v", c.offset, f.Detail())
			}
		}
	}
	r.Body = append(r.Body, ' ')
	if _, err := v.Verify(r, noon.Add(time.Hour)); !errors.Is(err, ErrMismatch) {
		t.Errorf("a forged stale request gets %v", err)
	}
}

// A difference that no time.Duration can hold is not mistaken for none.
func TestTimesOutOfReachAreStale(t *testing.T) {
	for unit, text := range map[Unit]string{
		Milliseconds: "999999999999999999", Seconds: "999999999999999999", RFC3339: "0001-01-01T00:00:00Z", ISOUTC: "9999-12-31T23:59:59",
	} {
		const at = "{http.request.header.X-T}"
		v := mustCompile(t, &Scheme{Proof: Proof{
			Signature: Signature{Header: "X-S"}, Algorithm: HMACSHA256, Message: at + body, Timestamp: &Timestamp{Value: at, Unit: unit},
		}}, "secret")
		r := post("{}")
		mac := hmac.New(sha256.New, []byte("secret"))
		mac.Write([]byte(text + "{}"))
		r.Header = http.Header{"X-T": {text}, "X-S": {hex.EncodeToString(mac.Sum(nil))}}
		if _, err := v.Verify(r, noon); !errors.Is(err, ErrStale) {
			t.Errorf("%s as %s: %v", text, unit, err)
		}
	}
}

// The libraries of Standard Webhooks refuse an empty id, although it can be signed.
func TestAnEmptySignedHeaderIsMissing(t *testing.T) {
	v := mustCompile(t, preset(t, "standard_webhooks"), base64.StdEncoding.EncodeToString([]byte("secret")))
	mac := hmac.New(sha256.New, []byte("secret"))
	mac.Write([]byte(".1750000000.{}"))
	r := post("{}")
	r.Header = http.Header{
		"Webhook-Id": {""}, "Webhook-Timestamp": {"1750000000"},
		"Webhook-Signature": {"v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))},
	}
	if _, err := v.Verify(r, noon); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
}

func TestVerifyNamesTheProviderOfAForeignRequest(t *testing.T) {
	github := signed(t, mustCompile(t, preset(t, "github"), "secret"), post("{}"), "", noon)
	_, err := mustCompile(t, preset(t, "stripe"), "secret").Verify(github, noon)
	want := "no Stripe-Signature, but X-Hub-Signature-256 is present: this looks like github"
	if f := reasonOf(t, err); !errors.Is(err, ErrMissing) || f.Detail() != want || f.Status() != 400 {
		t.Fatalf("got %v", err)
	}
}

func TestVerifyRefusesWhatIsThereTwice(t *testing.T) {
	stripe := mustCompile(t, preset(t, "stripe"), "secret")
	good := signed(t, stripe, post(`{"id":"evt_1"}`), "", noon)
	value := good.Header.Get("Stripe-Signature")
	for name, lines := range map[string][]string{
		"two lines":          {value, "t=1,v1=00"},
		"two lines, swapped": {"t=1,v1=00", value},
		"two equal lines":    {value, value},
		"two times":          {"t=1," + value},
		"no equals sign":     {value + ",v1"},
		"17 signatures":      {value + strings.Repeat(",v1=00", 16)},
		"too long":           {value + ",x=" + strings.Repeat("a", maxHeader)},
		"not a number":       {"t=x,v1=" + strings.Repeat("0", 64)},
		"signed number":      {"t=+1750000000,v1=" + strings.Repeat("0", 64)},
		"no signature":       {"t=1750000000"},
	} {
		r := *good
		r.Header = http.Header{"Stripe-Signature": lines}
		if _, err := stripe.Verify(&r, noon); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	sw := mustCompile(t, preset(t, "standard_webhooks"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	r := signed(t, sw, post("{}"), "msg_1", noon)
	r.Header.Add("webhook-id", "msg_2")
	if _, err := sw.Verify(r, noon); !errors.Is(err, ErrMalformed) {
		t.Errorf("two ids: %v", err)
	}
}

func TestStripeIgnoresOtherVersionsAndUnreadableSignatures(t *testing.T) {
	v := mustCompile(t, preset(t, "stripe"), "secret")
	good := signed(t, v, post(`{"id":"evt_1"}`), "", noon)
	value := good.Header.Get("Stripe-Signature")
	for _, header := range []string{value + ",v1=bad", value + ",v0=1,v0=2", "v1=zz," + value} {
		good.Header.Set("Stripe-Signature", header)
		if _, err := v.Verify(good, noon); err != nil {
			t.Errorf("%s: %v", header, err)
		}
	}
	good.Header.Set("Stripe-Signature", strings.ReplaceAll(value, "v1=", "v0="))
	if _, err := v.Verify(good, noon); err == nil {
		t.Error("v0 satisfied")
	}
}

func TestStandardWebhooksBindsTheVersionToTheKey(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	private := mustCompile(t, preset(t, "standard_webhooks"), "whsk_"+base64.StdEncoding.EncodeToString(seed))
	verifier := mustCompile(t, preset(t, "standard_webhooks"), "whpk_"+base64.StdEncoding.EncodeToString(public))
	r := signed(t, private, post(`{"type":"a"}`), "msg_1", noon)
	if !strings.HasPrefix(r.Header.Get("webhook-signature"), "v1a,") {
		t.Fatalf("signature is %q", r.Header.Get("webhook-signature"))
	}
	got, err := verifier.Verify(r, noon)
	if err != nil || got.EventID != "msg_1" || len(got.Identity) != 1 || string(got.Identity[0]) != "msg_1" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := verifier.Sign(r, "msg_1", noon); !errors.Is(err, ErrCannotSign) {
		t.Errorf("a public key signs: %v", err)
	}
	// The public key taken for an HMAC secret, as a forger knows it.
	forger := mustCompile(t, preset(t, "standard_webhooks"), base64.StdEncoding.EncodeToString(public))
	if _, err := verifier.Verify(signed(t, forger, r, "msg_1", noon), noon); !errors.Is(err, ErrMismatch) {
		t.Errorf("HMAC with the public key: %v", err)
	}
	r.Header.Set("webhook-signature", strings.Replace(r.Header.Get("webhook-signature"), "v1a,", "v1,", 1))
	if _, err := verifier.Verify(r, noon); !errors.Is(err, ErrMismatch) {
		t.Errorf("ed25519 under v1: %v", err)
	}
}

func TestSignAllListsASignatureForEachSecret(t *testing.T) {
	s := preset(t, "standard_webhooks")
	one, two := "whsec_"+base64.StdEncoding.EncodeToString([]byte("one-------------")), "whsec_"+base64.StdEncoding.EncodeToString([]byte("two-------------"))
	set, err := mustCompile(t, s, one, two).SignAll(post("{}"), "msg_1", noon)
	if err != nil {
		t.Fatal(err)
	}
	r := post("{}")
	r.Header = overlay(r.Header, set)
	for _, secret := range []string{one, two} {
		if _, err := mustCompile(t, s, secret).Verify(r, noon); err != nil {
			t.Error(err)
		}
	}
}

func TestGenericHMACOfAUser(t *testing.T) {
	const ts = "{http.request.header.X-Acme-Timestamp}"
	for _, alg := range []Algorithm{HMACSHA1, HMACSHA256, HMACSHA512} {
		for _, enc := range []Encoding{Hex, Base64, Base64URL} {
			for _, unit := range []Unit{AutoUnit, Seconds, Milliseconds, RFC3339, ISOUTC} {
				s := &Scheme{Name: "hmac", Proof: Proof{
					Signature: Signature{Header: "X-Acme-Signature", Prefix: "sig=", Encoding: enc},
					Algorithm: alg,
					Message:   ts + ".{http.request.body}",
					Timestamp: &Timestamp{Value: ts, Unit: unit, Tolerance: Duration(time.Minute)},
				}}
				v := mustCompile(t, s, "secret")
				r := signed(t, v, post("body"), "", noon)
				name := fmt.Sprint(alg, enc, unit)
				if _, err := v.Verify(r, noon.Add(time.Minute)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if _, err := v.Verify(r, noon.Add(61*time.Second)); !errors.Is(err, ErrStale) {
					t.Errorf("%s: %v", name, err)
				}
				r.Header.Set("X-Acme-Signature", strings.TrimPrefix(r.Header.Get("X-Acme-Signature"), "sig="))
				if _, err := v.Verify(r, noon); !errors.Is(err, ErrMalformed) {
					t.Errorf("%s without prefix: %v", name, err)
				}
				if d, ok := v.TimestampTolerance(); d != time.Minute || !ok {
					t.Errorf("%s: tolerance %v %v", name, d, ok)
				}
			}
		}
	}
}

func TestCompileRefusesSecretsAndNeverPrintsThem(t *testing.T) {
	const canary = "whsec_c4n4ry!!"
	for _, name := range []string{"standard_webhooks"} {
		_, err := preset(t, name).Compile([][]byte{[]byte(canary)})
		if !errors.Is(err, ErrKey) || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, form := range []KeyForm{HexKey, Base64Key, Base64URLKey} {
		s := &Scheme{Proof: Proof{Signature: Signature{Header: "X-A"}, Algorithm: HMACSHA256, Key: form}}
		if _, err := s.Compile([][]byte{[]byte(canary)}); !errors.Is(err, ErrKey) || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", form, err)
		}
	}
	for name, secrets := range map[string][][]byte{"none": nil, "empty": {[]byte("a"), {}}, "blank": {[]byte(" \n")}} {
		if _, err := preset(t, "stripe").Compile(secrets); !errors.Is(err, ErrNoSecret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateRefusesContradictions(t *testing.T) {
	good := Proof{Signature: Signature{Header: "X-A"}, Algorithm: HMACSHA256}
	if err := (&Scheme{Proof: good}).Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Scheme){
		"no place":             func(s *Scheme) { s.Signature.Header = "" },
		"two places":           func(s *Scheme) { s.Signature.Body = "a" },
		"format":               func(s *Scheme) { s.Signature.Format = "xml" },
		"no tag":               func(s *Scheme) { s.Signature.Format = KeyValue },
		"encoding":             func(s *Scheme) { s.Signature.Encoding = "base32" },
		"algorithm":            func(s *Scheme) { s.Algorithm = "md5" },
		"key":                  func(s *Scheme) { s.Key = "pgp" },
		"placeholder":          func(s *Scheme) { s.Message = "{body}" },
		"unclosed":             func(s *Scheme) { s.Message = "{http.request.body" },
		"no timestamp":         func(s *Scheme) { s.Message = "{http.relay.timestamp}" },
		"unsigned timestamp":   func(s *Scheme) { s.Timestamp = &Timestamp{Value: "{http.request.header.X-T}"} },
		"unit":                 func(s *Scheme) { s.Timestamp = &Timestamp{Value: "{http.request.body}", Unit: "h"} },
		"identity":             func(s *Scheme) { s.Identity = []string{"{http.request.headers.X}"} },
		"secret in identity":   func(s *Scheme) { s.Identity = []string{"{http.relay.secret}"} },
		"event id of itself":   func(s *Scheme) { s.EventID = []string{"{http.relay.event_id}"} },
		"also":                 func(s *Scheme) { s.Also = []Proof{{}} },
		"key without a list":   func(s *Scheme) { s.Key = StandardKey },
		"lines without header": func(s *Scheme) { s.Signature = Signature{Body: "a", Lines: true} },
	} {
		s := &Scheme{Proof: good}
		change(s)
		if err := s.Validate(); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTemplate) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
