// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// signedAt is when the sender has signed.
var signedAt = time.Unix(1750000000, 0)

const appSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"

// received makes an attempt of a request as the relay has stored it, at a time
// after it was signed.
func received(t *testing.T, h *Handler, r *http.Request, after time.Duration) relay.Attempt {
	t.Helper()
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	chosen, refused := verifyAt(h, r, body.Bytes(), signedAt)
	if refused != nil {
		t.Fatalf("not verified: %s", refused.reason)
	}
	m := h.event(body.Bytes(), chosen.verdict, time.Now())
	h.capture(r, m)
	m.ID = store.MessageID{7}
	for _, d := range h.destinations {
		d.forward.resigner.now = func() time.Time { return signedAt.Add(after) }
	}
	return relay.Attempt{Message: m, Number: 1}
}

func verifyAt(h *Handler, r *http.Request, body []byte, at time.Time) (verified, *refusal) {
	h.now = func() time.Time { return at }
	return h.verify(h.signedRequest(r, body), nil)
}

// deliver delivers and returns what the app got.
func deliver(t *testing.T, h *Handler, app *upstream, a relay.Attempt) delivered {
	t.Helper()
	result := h.destinations[0].forward.Deliver(t.Context(), a)
	if result.Outcome != store.Succeeded {
		t.Fatalf("%s %v", result.Outcome, result.Err)
	}
	return <-app.got
}

// accepts reports whether an app that checks the signature by itself takes a
// delivery at a time.
func accepts(t *testing.T, got delivered, name, secret string, at time.Time) error {
	t.Helper()
	s, _ := scheme.Preset(name)
	v, err := s.Compile([][]byte{[]byte(secret)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(&scheme.Request{
		Method: got.request.Method, URL: "https://app.test" + got.request.RequestURI, Header: got.request.Header, Body: got.body,
	}, at)
	return err
}

func TestP7_LateDeliveryCarriesAFreshSignatureOfTheSendersScheme(t *testing.T) {
	app := newUpstream(t, nil)
	h, _ := relayOf(t, app)
	const body = `{"id":"evt_1"}`
	for after, fresh := range map[time.Duration]bool{
		0: false, 269 * time.Second: false, 270 * time.Second: false, 271 * time.Second: true, time.Hour: true, 72 * time.Hour: true,
	} {
		r := stripe(post("/in", body), body, stripeSecret, signedAt)
		original := r.Header.Get("Stripe-Signature")
		r.Header.Set("X-Other", "kept")
		a := received(t, h, r, after)
		got := deliver(t, h, app, a)
		signature := got.request.Header.Get("Stripe-Signature")
		if (signature != original) != fresh {
			t.Errorf("after %s: signature %s, received with %s", after, signature, original)
		}
		if err := accepts(t, got, "stripe", stripeSecret, signedAt.Add(after)); err != nil {
			t.Errorf("after %s: the app refuses: %v", after, err)
		}
		if string(got.body) != body || got.request.Header.Get("X-Other") != "kept" {
			t.Errorf("after %s: more than the signature was changed", after)
		}
		if a.Message.Request.Header.Get("Stripe-Signature") != original {
			t.Error("the stored message was changed")
		}
	}
}

func TestP7_LateDeliveryIsSignedWithTheFirstSecret(t *testing.T) {
	app := newUpstream(t, nil)
	h, _ := relayBlock(t, app, "memory", "verify stripe "+newSecret+" "+oldSecret)
	r := stripe(post("/in", "{}"), "{}", oldSecret, signedAt)
	got := deliver(t, h, app, received(t, h, r, time.Hour))
	if err := accepts(t, got, "stripe", newSecret, signedAt.Add(time.Hour)); err != nil {
		t.Error(err)
	}
}

// Each of two Stripe endpoints on one relay has a secret of its own, and so has
// the app's check of each.
func TestP7_LateDeliveryIsSignedByTheSchemeThatVerifiedIt(t *testing.T) {
	app := newUpstream(t, nil)
	h, _ := relayBlock(t, app, "memory", "verify stripe "+newSecret, "verify stripe "+oldSecret)
	for _, secret := range []string{newSecret, oldSecret} {
		r := stripe(post("/in", "{}"), "{}", secret, signedAt)
		got := deliver(t, h, app, received(t, h, r, time.Hour))
		if err := accepts(t, got, "stripe", secret, signedAt.Add(time.Hour)); err != nil {
			t.Error(err)
		}
	}
}

func TestP7_ResignOffPassesTheOriginalAndSaysWhyTheAppRefuses(t *testing.T) {
	app := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) })
	h, _ := relayOf(t, app, "resign off")
	r := stripe(post("/in", "{}"), "{}", stripeSecret, signedAt)
	original := r.Header.Get("Stripe-Signature")
	result := h.destinations[0].forward.Deliver(t.Context(), received(t, h, r, 14*time.Minute))
	if got := <-app.got; got.request.Header.Get("Stripe-Signature") != original {
		t.Errorf("signature %s", got.request.Header.Get("Stripe-Signature"))
	}
	const want = "the sender's signature is 14m0s old by now and its library accepts 5m0s: use resign"
	if result.Outcome != store.Refused || result.Err == nil || !strings.Contains(result.Err.Error(), want) {
		t.Errorf("%s %v", result.Outcome, result.Err)
	}
	r = stripe(post("/in", "{}"), "{}", stripeSecret, signedAt)
	result = h.destinations[0].forward.Deliver(t.Context(), received(t, h, r, time.Minute))
	if strings.Contains(result.Err.Error(), "resign") {
		t.Errorf("a fresh signature is blamed: %v", result.Err)
	}
}

func TestP7_ResignWithASchemeSignsEverythingInIt(t *testing.T) {
	app := newUpstream(t, nil)
	h, _ := relayBlock(t, app, "memory", "verify stripe "+stripeSecret, "verify github "+stripeSecret, "resign standard_webhooks "+appSecret)
	github, err := mustVerifier("github", stripeSecret).Sign(&scheme.Request{Body: []byte("{}")}, "", signedAt)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*http.Request{
		"Stripe-Signature":    stripe(post("/in", "{}"), "{}", stripeSecret, signedAt),
		"X-Hub-Signature-256": withHeader(post("/in", "{}"), "X-Hub-Signature-256", github.Get("X-Hub-Signature-256")),
	} {
		r.Header.Set("Webhook-Id", "forged")
		r.Header.Set("Webhook-Signature", "v1,forged")
		for _, after := range []time.Duration{0, time.Hour} {
			a := received(t, h, r.Clone(t.Context()), after)
			got := deliver(t, h, app, a)
			if err := accepts(t, got, "standard_webhooks", appSecret, signedAt.Add(after)); err != nil {
				t.Errorf("%s after %s: %v", name, after, err)
			}
			if id := got.request.Header.Get("Webhook-Id"); id != a.Message.ID.String() {
				t.Errorf("webhook-id %q", id)
			}
			if got.request.Header.Get(name) != "" || got.request.Header.Get("Relay-Verified") == "" {
				t.Errorf("headers %v", got.request.Header)
			}
			r.Body = post("/in", "{}").Body
		}
	}
}

func TestP7_IdThatTheSenderSignedStays(t *testing.T) {
	app := newUpstream(t, nil)
	h, _ := relayBlock(t, app, "memory", "verify standard_webhooks "+appSecret, "resign standard_webhooks whsec_"+strings.Repeat("b", 32))
	r := post("/in", "{}")
	set, err := mustVerifier("standard_webhooks", appSecret).Sign(&scheme.Request{Header: http.Header{}, Body: []byte("{}")}, "msg_theirs", signedAt)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, set)
	got := deliver(t, h, app, received(t, h, r, time.Hour))
	if got.request.Header.Get("Webhook-Id") != "msg_theirs" {
		t.Errorf("webhook-id %q", got.request.Header.Get("Webhook-Id"))
	}
	if err := accepts(t, got, "standard_webhooks", "whsec_"+strings.Repeat("b", 32), signedAt.Add(time.Hour)); err != nil {
		t.Error(err)
	}
}

func TestDestinationMayHaveAResignOfItsOwn(t *testing.T) {
	app, other := newUpstream(t, nil), newUpstream(t, nil)
	r := start(t, memoryOptions+":0 {\n\trelay /in {\n\t\tverify stripe "+stripeSecret+"\n\t\tresign standard_webhooks "+appSecret+"\n"+
		"\t\tdestination a {\n\t\t\tforward "+app.addr()+"\n\t\t}\n\t\tdestination b {\n\t\t\tresign off\n\t\t\tforward "+other.addr()+"\n\t\t}\n\t}\n}\n")
	h := r.relay["in"]
	serve(t, h, signed("/in", "{}"))
	if got := <-app.got; got.request.Header.Get("Webhook-Signature") == "" {
		t.Error("a destination does not inherit resign")
	}
	if got := <-other.got; got.request.Header.Get("Webhook-Signature") != "" || got.request.Header.Get("Stripe-Signature") == "" {
		t.Errorf("headers %v", got.request.Header)
	}
}

func TestLongerToleranceDoesNotMakeTheAppMorePatient(t *testing.T) {
	app := newUpstream(t, nil)
	h, _ := relayBlock(t, app, "memory", "verify stripe "+stripeSecret+" {\n tolerance 24h\n}")
	r := stripe(post("/in", "{}"), "{}", stripeSecret, signedAt)
	if _, refused := verifyAt(h, r, []byte("{}"), signedAt.Add(23*time.Hour)); refused != nil {
		t.Errorf("refused within the tolerance: %s", refused.reason)
	}
	got := deliver(t, h, app, received(t, h, r, 10*time.Minute))
	if err := accepts(t, got, "stripe", stripeSecret, signedAt.Add(10*time.Minute)); err != nil {
		t.Errorf("the app refuses: %v", err)
	}
}

func TestSignatureOfASenderWithItsOwnKeyGoesOnAsItCame(t *testing.T) {
	app := newUpstream(t, nil)
	h, _ := relayBlock(t, app, "memory", "verify github "+stripeSecret)
	set, err := mustVerifier("github", stripeSecret).Sign(&scheme.Request{Body: []byte("{}")}, "", signedAt)
	if err != nil {
		t.Fatal(err)
	}
	r := withHeader(post("/in", "{}"), "X-Hub-Signature-256", set.Get("X-Hub-Signature-256"))
	got := deliver(t, h, app, received(t, h, r, 72*time.Hour))
	if got.request.Header.Get("X-Hub-Signature-256") != set.Get("X-Hub-Signature-256") {
		t.Error("a signature without a time was changed")
	}
}

func TestResignThatCanNotBeIsAnErrorAtLoad(t *testing.T) {
	for block, want := range map[string]string{
		"resign discord " + strings.Repeat("ab", 32):   "resign discord: scheme discord: cannot sign: the secret is a public key",
		"resign sns " + topic:                          "cannot sign",
		"resign stripe {env.RELAY_UNSET}":              "resign stripe: {env.RELAY_UNSET} is empty",
		"resign standard_webhooks whsec_!!!!!!!!!!!!!": "unusable secret",
	} {
		if err := tryLoad(t, memoryOptions+":0 {\n\trelay /in a:1 {\n"+block+"\n}\n}\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", block, err)
		}
	}
}

// hubspot signs the URL, so only who knows the public one can sign again.
func TestURLThatIsSignedIsThePublicOne(t *testing.T) {
	app := newUpstream(t, nil)
	const secret, called = "hubspot-secret-0123456789", "https://hooks.example.com/prefix/in?a=b"
	v := mustVerifier("hubspot", secret)
	request := func() *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/in?a=b", strings.NewReader("[{}]"))
		set, err := v.Sign(&scheme.Request{Method: r.Method, URL: called, Header: r.Header, Body: []byte("[{}]")}, "", signedAt)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(r.Header, set)
		return r
	}
	blind, _ := relayBlock(t, app, "memory", "verify hubspot "+secret)
	if !logged("give it with public_url") {
		t.Error("there is no warning")
	}
	if _, refused := verifyAt(blind, request(), []byte("[{}]"), signedAt); refused == nil {
		t.Error("verified without knowing the URL")
	}
	h, _ := relayBlock(t, app, "memory", "verify hubspot "+secret, "public_url https://hooks.example.com/prefix/")
	if logged("give it with public_url") {
		t.Error("there is a warning all the same")
	}
	a := received(t, h, request(), time.Hour)
	got := deliver(t, h, app, a)
	_, err := v.Verify(&scheme.Request{Method: http.MethodPost, URL: called, Header: got.request.Header, Body: got.body}, signedAt.Add(time.Hour))
	if err != nil {
		t.Errorf("the app refuses: %v", err)
	}
	h.destinations[0].forward.resigner.public = ""
	got = deliver(t, h, app, a)
	if got.request.Header.Get("X-Hubspot-Signature-V3") != a.Message.Request.Header.Get("X-Hubspot-Signature-V3") {
		t.Error("signed anew over a URL that is a guess")
	}
}

// handle_path and rewrite change what the app is called with, not what the sender has signed.
func TestURLThatIsSignedAnewIsTheOneThatTheSenderCalled(t *testing.T) {
	app := newUpstream(t, nil)
	const secret, called = "hubspot-secret-0123456789", "https://hooks.example.com/outer/in?a=b"
	v := mustVerifier("hubspot", secret)
	h, _ := relayBlock(t, app, "memory", "verify hubspot "+secret, "public_url https://hooks.example.com")
	original := httptest.NewRequest(http.MethodPost, "/outer/in?a=b", strings.NewReader("[{}]"))
	set, err := v.Sign(&scheme.Request{Method: original.Method, URL: called, Header: original.Header, Body: []byte("[{}]")}, "", signedAt)
	if err != nil {
		t.Fatal(err)
	}
	r := original.WithContext(context.WithValue(t.Context(), caddyhttp.OriginalRequestCtxKey, *original))
	r.URL = &url.URL{Path: "/in", RawQuery: "a=b"}
	r.RequestURI = "/in?a=b"
	maps.Copy(r.Header, set)
	a := received(t, h, r, time.Hour)
	if in := a.Message.Request; in.URI != "/in?a=b" || in.SentURI != "/outer/in?a=b" {
		t.Errorf("stored as %q, sent as %q", in.URI, in.SentURI)
	}
	got := deliver(t, h, app, a)
	if got.request.RequestURI != "/in?a=b" {
		t.Errorf("the app is called with %s", got.request.RequestURI)
	}
	_, err = v.Verify(&scheme.Request{Method: http.MethodPost, URL: called, Header: got.request.Header, Body: got.body}, signedAt.Add(time.Hour))
	if err != nil {
		t.Errorf("the app refuses: %v", err)
	}
}

func TestPublicURLThatIsNoneIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"hooks.example.com":             "must begin with https://",
		"ftp://hooks.example.com":       "must begin with https://",
		"https://":                      "must begin with https://",
		"https://hooks.example.com?a=b": "no query, fragment or user",
		"https://hooks.example.com/#x":  "no query, fragment or user",
		"https://u@hooks.example.com":   "no query, fragment or user",
		"{env.RELAY_UNSET_URL}":         "public_url",
	} {
		if _, err := publicURL(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if got, err := publicURL("https://hooks.example.com:8443/a/"); err != nil || got != "https://hooks.example.com:8443/a" || hostOf(got) != "hooks.example.com:8443" {
		t.Errorf("%s, %v", got, err)
	}
}
