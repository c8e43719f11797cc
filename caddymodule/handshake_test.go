// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/scheme/schemetest"
)

// exchange is a question of a provider.
type exchange struct{ schemetest.Exchange }

func exchanges(t *testing.T) []exchange {
	t.Helper()
	rows, err := schemetest.Exchanges()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 12 {
		t.Fatalf("only %d handshakes", len(rows))
	}
	all := make([]exchange, 0, len(rows))
	for _, row := range rows {
		all = append(all, exchange{row})
	}
	return all
}

// relayBlock starts a relay with these lines in its block, in a store of that
// kind, and returns its handler.
func relayBlock(t testing.TB, app *upstream, store string, lines ...string) (*Handler, *running) {
	t.Helper()
	r := start(t, "{\n\trelay {\n\t\tstore "+store+"\n\t}\n}\n:0 {\n\trelay /in* "+app.addr()+" {\n"+strings.Join(lines, "\n")+"\n\t}\n}\n")
	return r.relay["in"], r
}

// setup returns the verify option for a provider, and when it asked.
func (e *exchange) setup() (verify string, at time.Time) {
	at = time.Now()
	secret := e.Secret
	if secret == "" {
		secret = "0123456789abcdef0123456789abcdef"
	}
	option := ""
	switch e.Provider {
	case "twitch":
		at = time.Date(2019, 11, 16, 10, 11, 12, 0, time.UTC)
	case "zoom":
		at = time.Unix(1654503849, 0)
	case "discord":
		secret = hex.EncodeToString(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	case "braintree":
		secret = "integration_public_key:" + secret
	case "cloudevents":
		option = "token eventemitter.example.com"
	case "meta", "lark":
		option = "token " + e.Secret
	case "asana":
		return "verify asana {\n expect_secret\n}", at
	}
	return fmt.Sprintf("verify %s %s {\n%s\n}", e.Provider, secret, option), at
}

// request is the question, signed where the file has no signature of it.
func (e *exchange) request(t *testing.T, b *binding, at time.Time) *http.Request {
	t.Helper()
	r := httptest.NewRequest(e.Method, e.URL, strings.NewReader(e.Body))
	for name, value := range e.Headers {
		r.Header.Set(name, value)
	}
	if e.Provider == "slack" || e.Provider == "discord" {
		set, err := b.verifier().Sign(&scheme.Request{Method: e.Method, URL: e.URL, Header: r.Header, Body: []byte(e.Body)}, "", at)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(r.Header, set)
	}
	return r
}

func TestHandshakesOfProvidersAreAnsweredAndNotStored(t *testing.T) {
	for _, e := range exchanges(t) {
		t.Run(e.ID, func(t *testing.T) {
			verify, at := e.setup()
			h, r := relayBlock(t, newUpstream(t, nil), "memory", verify)
			h.now = func() time.Time { return at }
			w := serve(t, h, e.request(t, h.bindings[0], at))
			if w.Code != e.ExpectStatus {
				t.Fatalf("answered %d %q, want %d", w.Code, w.Body, e.ExpectStatus)
			}
			for name, value := range e.ExpectHeaders {
				if got := w.Header().Get(name); got != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}
			switch e.BodyMatch {
			case "exact":
				if w.Body.String() != e.ExpectBody {
					t.Errorf("body %q, want %q", w.Body, e.ExpectBody)
				}
			case "json":
				var got, want any
				if json.Unmarshal(w.Body.Bytes(), &got) != nil || json.Unmarshal([]byte(e.ExpectBody), &want) != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("body %q, want %q", w.Body, e.ExpectBody)
				}
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Error("the answer can be sniffed as something else")
			}
			if books, err := r.app.engine.Books(t.Context()); err != nil || len(books) != 0 {
				t.Errorf("books %v, %v", books, err)
			}
			if used := r.app.engine.Budget().Used(); used != 0 {
				t.Errorf("%d bytes of the budget are still taken", used)
			}
		})
	}
}

func TestSignedHandshakeThatIsForgedIsRefused(t *testing.T) {
	h, _ := relayBlock(t, newUpstream(t, nil), "memory", "verify discord "+strings.Repeat("ab", 32))
	r := post("/in", `{"type":1}`)
	r.Header.Set("X-Signature-Ed25519", strings.Repeat("00", 64))
	r.Header.Set("X-Signature-Timestamp", "1750000000")
	before := counted(metrics.rejected.WithLabelValues("in", "mismatch"))
	if w := serve(t, h, r); w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), "type") {
		t.Errorf("answered %d %q", w.Code, w.Body)
	}
	if counted(metrics.rejected.WithLabelValues("in", "mismatch")) != before+1 {
		t.Error("the refusal is not counted by its reason")
	}
}

func TestMethodOfAHandshakeIsNotOneOfEvents(t *testing.T) {
	h, _ := relayBlock(t, newUpstream(t, nil), "memory", "verify meta 0123456789abcdef {\n token x\n}")
	if w := serve(t, h, httptest.NewRequest(http.MethodGet, "/in", nil)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("a GET that asks nothing got %d", w.Code)
	}
	if w := serve(t, h, httptest.NewRequest(http.MethodDelete, "/in", nil)); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, POST" {
		t.Errorf("a DELETE got %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
	trello, _ := relayBlock(t, newUpstream(t, nil), "memory", "verify trello 0123456789abcdef")
	if w := serve(t, trello, httptest.NewRequest(http.MethodHead, "/in", nil)); w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("the probe got %d", w.Code)
	}
	only, _ := relayBlock(t, newUpstream(t, nil), "memory", "verify meta 0123456789abcdef {\n token x\n}", "methods POST")
	if w := serve(t, only, httptest.NewRequest(http.MethodGet, "/in?hub.mode=subscribe&hub.challenge=1&hub.verify_token=x", nil)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("methods are configured and a GET got %d", w.Code)
	}
}

// What one scheme takes for a question of its own may be an event of another.
func TestRequestThatOneSchemeRefusesAsAQuestionMayBeAnEventOfAnother(t *testing.T) {
	app := newUpstream(t, nil)
	h, _ := relayBlock(t, app, "memory", "verify slack 0123456789abcdef", "verify stripe "+stripeSecret)
	const body = `{"id":"evt_9","type":"url_verification","challenge":"abc"}`
	if w := serve(t, h, signed("/in", body)); w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("answered %d %q", w.Code, w.Body)
	}
	if got := <-app.got; got.request.Header.Get("Relay-Verified") != "stripe" {
		t.Errorf("delivered as verified by %q", got.request.Header.Get("Relay-Verified"))
	}
}

// asana asks with a secret, or sends an event signed with it.
func asana(secret string, event bool) *http.Request {
	body := "{}"
	if event {
		body = `{"events":[{"action":"changed"}]}`
	}
	r := post("/in", body)
	if !event {
		r.Header.Set("X-Hook-Secret", secret)
		return r
	}
	v := mustVerifier("asana", secret)
	set, err := v.Sign(&scheme.Request{Method: r.Method, Header: r.Header, Body: []byte(body)}, "", time.Now())
	if err != nil {
		panic(err)
	}
	maps.Copy(r.Header, set)
	return r
}

func mustVerifier(preset, secret string) *scheme.Verifier {
	s, _ := scheme.Preset(preset)
	v, err := s.Compile([][]byte{[]byte(secret)})
	if err != nil {
		panic(err)
	}
	return v
}

func TestSecretOfAHandshakeIsKeptOnceAndSurvivesARestart(t *testing.T) {
	const first, second, stranger = "first-secret-0123456789", "second-secret-0123456789", "strangers-secret-012345"
	store := "pebble " + t.TempDir()
	app := newUpstream(t, nil)
	h, r := relayBlock(t, app, store, "verify asana {\n expect_secret a b\n}")
	if w := serve(t, h, asana(first, true)); w.Code < 400 {
		t.Fatalf("an event before any secret got %d", w.Code)
	}
	for _, secret := range []string{first, first, second} {
		if w := serve(t, h, asana(secret, false)); w.Code != 200 || w.Header().Get("X-Hook-Secret") != secret {
			t.Fatalf("%s: answered %d %v", secret, w.Code, w.Header())
		}
	}
	if w := serve(t, h, asana(stranger, false)); w.Code < 400 || w.Header().Get("X-Hook-Secret") != "" {
		t.Errorf("a third secret got %d %v", w.Code, w.Header())
	}
	check := func(h *Handler, when string) {
		t.Helper()
		for secret, want := range map[string]int{first: 200, second: 200, stranger: 401} {
			if w := serve(t, h, asana(secret, true)); w.Code != want {
				t.Errorf("%s: an event with %s got %d", when, secret, w.Code)
			}
		}
	}
	check(h, "at once")
	again, rr := relayBlock(t, app, store, "verify asana {\n expect_secret a b\n}")
	check(again, "after a reload")
	r.stop()
	check(again, "without the former configuration")
	rr.stop()
	restarted, rrr := relayBlock(t, app, store, "verify asana {\n expect_secret a b\n}")
	check(restarted, "after a restart")
	if w := serve(t, restarted, asana(stranger, false)); w.Code < 400 {
		t.Errorf("a third secret after a restart got %d", w.Code)
	}
	rrr.stop()
	other, _ := relayBlock(t, app, store, "verify asana {\n expect_secret c\n}")
	if w := serve(t, other, asana(stranger, false)); w.Code != 200 {
		t.Errorf("a secret of another name got %d", w.Code)
	}
	if logged(first) || logged(second) || logged(stranger) {
		t.Error("a secret is in the log")
	}
}

func TestSecretOfAHandshakeIsRefusedWhileNoneIsExpected(t *testing.T) {
	h, _ := relayBlock(t, newUpstream(t, nil), "memory", "verify asana 0123456789abcdef")
	if w := serve(t, h, asana("strangers-secret-012345", false)); w.Code < 400 || w.Header().Get("X-Hook-Secret") != "" {
		t.Errorf("answered %d %v", w.Code, w.Header())
	}
}

func TestSecretOfAHandshakeIsNotAnsweredBeforeItIsKept(t *testing.T) {
	h, r := relayBlock(t, newUpstream(t, nil), "memory", "verify asana {\n expect_secret late\n}")
	r.stop()
	if w := serve(t, h, asana("first-secret-0123456789", false)); w.Code != 503 || w.Header().Get("X-Hook-Secret") != "" || w.Header().Get("Retry-After") == "" {
		t.Errorf("answered %d %v", w.Code, w.Header())
	}
}
