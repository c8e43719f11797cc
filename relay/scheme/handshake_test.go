// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/scheme/schemetest"
)

// exchange is a question of a provider.
type exchange struct{ schemetest.Exchange }

func readExchanges(t *testing.T) []exchange {
	t.Helper()
	rows, err := schemetest.Exchanges()
	if err != nil {
		t.Fatal(err)
	}
	all := make([]exchange, 0, len(rows))
	for _, row := range rows {
		all = append(all, exchange{row})
	}
	return all
}

func (e *exchange) request() *Request {
	r := &Request{Method: e.Method, URL: e.URL, Header: make(http.Header), Body: []byte(e.Body)}
	for name, value := range e.Headers {
		r.Header.Set(name, value)
	}
	return r
}

// at is when the signed questions of the file were asked.
func (e *exchange) at() time.Time {
	switch e.Provider {
	case "twitch":
		return time.Date(2019, 11, 16, 10, 11, 12, 0, time.UTC)
	case "zoom":
		return time.Unix(1654503849, 0)
	default:
		return noon
	}
}

func TestHandshakesOfProvidersAgree(t *testing.T) {
	for _, e := range readExchanges(t) {
		t.Run(e.ID, func(t *testing.T) {
			s := preset(t, e.Provider)
			o := Options{Token: []byte(e.Secret), Expecting: e.Provider == "asana"}
			secret := e.Secret
			r := e.request()
			switch e.Provider {
			case "slack", "discord": // of which the file has no signature
				v := exampleVerifier(t, s)
				r, secret = signed(t, v, r, "", noon), exampleSecret(&s.Proof)
			case "cloudevents":
				o.Token, secret = []byte("eventemitter.example.com"), "secret"
			case "braintree":
				secret = "integration_public_key:" + secret
			}
			if secret == "" {
				secret = "0123456789abcdef"
			}
			v, err := s.CompileWith([][]byte{[]byte(secret)}, o)
			if err != nil {
				t.Fatal(err)
			}
			a, err := v.Handshake(r, e.at())
			if a == nil {
				t.Fatalf("not taken for a handshake (%v)", err)
			}
			e.check(t, a, err)
			if !slices.Contains(s.AcceptedMethods(), e.Method) {
				t.Errorf("methods %v lack %s", s.AcceptedMethods(), e.Method)
			}
		})
	}
}

func (e *exchange) check(t *testing.T, a *Answer, err error) {
	if a.Status != e.ExpectStatus || (err == nil) != (a.Status < 300) {
		t.Errorf("status %d (%v), expected %d", a.Status, err, e.ExpectStatus)
	}
	for name, value := range e.ExpectHeaders {
		if a.Header.Get(name) != value {
			t.Errorf("%s is %q, expected %q", name, a.Header.Get(name), value)
		}
	}
	switch e.BodyMatch {
	case "exact":
		if string(a.Body) != e.ExpectBody {
			t.Errorf("body %q, expected %q", a.Body, e.ExpectBody)
		}
	case "json":
		var got, want any
		if json.Unmarshal(a.Body, &got) != nil || json.Unmarshal([]byte(e.ExpectBody), &want) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("body %q, expected %q", a.Body, e.ExpectBody)
		}
	}
	if a.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("the answer can be sniffed as something else")
	}
}

func TestHandshakesSignNothingForStrangers(t *testing.T) {
	for _, c := range []struct{ preset, challenge string }{
		{"x", `%7B%22tweet_create_events%22%3A%5B%5D%7D`},
		{"x", strings.Repeat("a", 257)},
		{"x", "a%20b"},
		{"braintree", "20f9f8ed05f77439fe955c977e4c8a53aa"},
		{"braintree", "PD94bWw%3D"},
		{"braintree", "20f9f8ed05f7%0a439fe955c977e4c8"},
		{"dropbox", "%3Cscript%3E"},
		{"nylas", "a%0d%0ab"},
		{"ebay", `%22%7D`},
	} {
		v := exampleVerifier(t, preset(t, c.preset))
		name := map[string]string{"x": "crc_token", "braintree": "bt_challenge", "ebay": "challenge_code"}[c.preset]
		if name == "" {
			name = "challenge"
		}
		a, err := v.Handshake(&Request{Method: "GET", URL: "https://example.com/?" + name + "=" + c.challenge, Header: http.Header{}}, noon)
		if a == nil || a.Status != 400 || len(a.Body) > 0 || !errors.Is(err, ErrMalformed) {
			t.Errorf("%s %s: %+v %v", c.preset, c.challenge, a, err)
		}
	}
}

func TestZoomSignsOnlyForZoom(t *testing.T) {
	v := exampleVerifier(t, preset(t, "zoom"))
	question := post(`{"event":"endpoint.url_validation","payload":{"plainToken":"abc"}}`)
	if a, err := v.Handshake(question, noon); a == nil || a.Status != 400 || !errors.Is(err, ErrMissing) {
		t.Errorf("unsigned: %+v %v", a, err)
	}
	forged := signed(t, mustCompile(t, preset(t, "zoom"), "another secret"), question, "", noon)
	if a, err := v.Handshake(forged, noon); a == nil || a.Status != 401 || len(a.Body) > 0 || !errors.Is(err, ErrMismatch) {
		t.Errorf("forged: %+v %v", a, err)
	}
	oracle := signed(t, v, post(`{"event":"endpoint.url_validation","payload":{"plainToken":"v0:1750000000:x"}}`), "", noon)
	if a, err := v.Handshake(oracle, noon); a == nil || a.Status != 400 || !errors.Is(err, ErrMalformed) {
		t.Errorf("oracle: %+v %v", a, err)
	}
}

func TestBraintreeAnswerIsNoPayload(t *testing.T) {
	v := exampleVerifier(t, preset(t, "braintree"))
	const nonce = "20f9f8ed05f77439fe955c977e4c8a53"
	a, err := v.Handshake(&Request{Method: "GET", URL: "https://example.com/?bt_challenge=" + nonce}, noon)
	if err != nil {
		t.Fatal(err)
	}
	replay := post("bt_signature=" + strings.ReplaceAll(string(a.Body), "|", "%7C") + "&bt_payload=" + nonce)
	if _, err := v.Verify(replay, noon); !errors.Is(err, ErrMismatch) {
		t.Errorf("the answer passes for a payload: %v", err)
	}
}

func TestSecretsAreLearnedOnlyWhileExpected(t *testing.T) {
	for name, question := range map[string]*Request{
		"asana":  {Method: "POST", Header: http.Header{"X-Hook-Secret": {"abc123"}}, Body: []byte("{}")},
		"notion": {Method: "POST", Header: http.Header{}, Body: []byte(`{"verification_token":"secret_abc"}`)},
	} {
		s := preset(t, name)
		if _, err := s.Compile(nil); !errors.Is(err, ErrNoSecret) {
			t.Errorf("%s without a secret: %v", name, err)
		}
		v, err := s.CompileWith(nil, Options{Expecting: true})
		if err != nil {
			t.Fatal(err)
		}
		a, err := v.Handshake(question, noon)
		if err != nil || a == nil || len(a.Learned) == 0 {
			t.Fatalf("%s: %+v %v", name, a, err)
		}
		if _, err := v.Verify(question, noon); err == nil {
			t.Errorf("%s accepts events without a secret", name)
		}
		known, err := s.Compile([][]byte{a.Learned})
		if err != nil {
			t.Fatal(err)
		}
		if a, err := known.Handshake(question, noon); a != nil || err != nil {
			t.Errorf("%s learns a second secret: %+v %v", name, a, err)
		}
	}
}

func TestEventsAreNoHandshakes(t *testing.T) {
	for _, name := range Names() {
		v := exampleVerifier(t, preset(t, name))
		if a, err := v.Handshake(exampleRequest(v, "x"), noon); a != nil || err != nil {
			t.Errorf("%s: %+v %v", name, a, err)
		}
	}
}

// seal encrypts as Lark does.
func seal(t *testing.T, key, document string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(key))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		t.Fatal(err)
	}
	padding := aes.BlockSize - len(document)%aes.BlockSize
	plain := append([]byte(document), bytes.Repeat([]byte{byte(padding)}, padding)...)
	sealed := make([]byte, aes.BlockSize+len(plain))
	copy(sealed, "0123456789abcdef")
	cipher.NewCBCEncrypter(block, sealed[:aes.BlockSize]).CryptBlocks(sealed[aes.BlockSize:], plain)
	return base64.StdEncoding.EncodeToString(sealed)
}

func TestLarkAsksEncrypted(t *testing.T) {
	v, err := preset(t, "lark").CompileWith([][]byte{[]byte("other"), []byte("test key")}, Options{Token: []byte("token")})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(text string) (*Answer, error) { return v.Handshake(post(`{"encrypt":"`+text+`"}`), noon) }
	const question = `{"challenge":"ajls384kdjx98XX","token":"token","type":"url_verification"}`
	if a, err := ask(seal(t, "test key", question)); err != nil || a == nil || string(a.Body) != `{"challenge":"ajls384kdjx98XX"}` {
		t.Errorf("%+v %v", a, err)
	}
	if a, err := ask(seal(t, "test key", strings.Replace(question, `"token"`, `"Token"`, 1))); a == nil || a.Status != 403 || err == nil {
		t.Errorf("without the token: %+v %v", a, err)
	}
	for name, text := range map[string]string{
		"another key": seal(t, "another key", question), "an event": seal(t, "test key", `{"schema":"2.0"}`), "no JSON": seal(t, "test key", "x"),
		"short": "AAAA", "empty": "", "no base64": "%", "long": seal(t, "test key", question+strings.Repeat(" ", maxSealed)),
	} {
		if a, err := ask(text); a != nil || err != nil {
			t.Errorf("%s: %+v %v", name, a, err)
		}
	}
}

func TestLarkEventsAreIdentifiedThroughTheirEncryption(t *testing.T) {
	v := mustCompile(t, preset(t, "lark"), "test key")
	const document = `{"header":{"event_id":"e1","event_type":"im.message.receive_v1"}}`
	event := func(text string) Verdict {
		t.Helper()
		r := post(`{"encrypt":"` + text + `"}`)
		r.Header.Set("X-Lark-Request-Nonce", "n")
		got, err := v.Verify(signed(t, v, r, "", noon), noon)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	long := strings.Replace(document, `}}`, `},"event":"`+strings.Repeat("x", 2*maxSealed)+`"}`, 1)
	for _, text := range []string{seal(t, "test key", document), seal(t, "test key", long)} {
		if got := event(text); got.EventID != "e1" || got.Type != "im.message.receive_v1" || len(got.Identity) != 1 {
			t.Errorf("%+v", got)
		}
	}
	if got := event(seal(t, "another key", document)); got.EventID != "" || got.Identity != nil {
		t.Errorf("encrypted with another key: %+v", got)
	}
}

// The example of Lark's documentation of its encryption: "hello world" under "test key".
func TestLarkDecryptsTheDocumentedExample(t *testing.T) {
	v := mustCompile(t, preset(t, "lark"), "test key")
	box, _ := base64.StdEncoding.DecodeString("P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk=")
	plain := make([]byte, len(box)-aes.BlockSize)
	cipher.NewCBCDecrypter(v.sealed.ciphers[0], box[:aes.BlockSize]).CryptBlocks(plain, box[aes.BlockSize:])
	if !strings.HasPrefix(string(plain), "hello world") {
		t.Errorf("%q", plain)
	}
}
