// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// panicking is a handler that panics.
type panicking struct{}

func (panicking) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.relay_test_panic", New: func() caddy.Module { return new(panicking) }}
}

func (panicking) ServeHTTP(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
	w.WriteHeader(http.StatusOK)
	panic("boom")
}

func init() { caddy.RegisterModule(panicking{}) }

// forwardOf provisions a relay with that forward and returns its deliverer.
func forwardOf(t testing.TB, leads string) *forward {
	t.Helper()
	r, err := provision(t, "{\n\trelay {\n\t\tstore memory\n\t}\n}\n:0 {\n\trelay /in {\n\t\tforward "+leads+"\n\t}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	return r.relay["in"].destinations[0].forward
}

// attempt is the second attempt of a delivery.
func attempt() relay.Attempt {
	return relay.Attempt{
		Number: 2,
		Message: &store.Message{
			ID: store.MessageID{1, 2, 3}, Source: "in", EventID: "evt_1", Type: "invoice.paid", VerifiedBy: "stripe",
			ReceivedAt: time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC),
			Request: store.Request{
				Method: http.MethodPost, URI: "/in/stripe?a=b%2Fc", Host: "hooks.example.com",
				RemoteAddr: "192.0.2.1:1234", LocalAddr: "192.0.2.2:443", ClientIP: "198.51.100.7", TLS: true,
				Header: http.Header{"Stripe-Signature": {"t=1"}, "Content-Type": {"application/json"}, "Relay-Id": {"forged"}, "Connection": {"x"}},
				Body:   []byte(`{"id":"evt_1","data":{"customer":"{env.HOME}","list":[1,2]}}`),
			},
		},
	}
}

func TestP7_UpstreamGetsTheRequestAsItCameAndOurHeaders(t *testing.T) {
	app := newUpstream(t, nil)
	a := attempt()
	result := forwardOf(t, app.addr()).Deliver(t.Context(), a)
	if result.Outcome != store.Succeeded || result.Status != 200 || result.Err != nil {
		t.Fatalf("%s %d %v", result.Outcome, result.Status, result.Err)
	}
	got := <-app.got
	r := got.request
	if string(got.body) != string(a.Message.Request.Body) || r.Method != "POST" || r.RequestURI != "/in/stripe?a=b%2Fc" || r.Host != "hooks.example.com" {
		t.Errorf("got %s %s Host %s: %s", r.Method, r.RequestURI, r.Host, got.body)
	}
	id := a.Message.ID.String()
	for name, want := range map[string]string{
		"Relay-Id": id, "Relay-Source": "in", "Relay-Event-Id": "evt_1", "Relay-Type": "invoice.paid", "Relay-Attempt": "2",
		"Relay-Received-At": "2026-01-02T03:04:05.000678Z", "Relay-Verified": "stripe", "Relay-Replay": "", "Idempotency-Key": id,
		"Stripe-Signature": "t=1", "Content-Type": "application/json",
		"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "hooks.example.com", "Early-Data": "",
	} {
		if values := strings.Join(r.Header.Values(name), "|"); values != want {
			t.Errorf("%s: %q, want %q", name, values, want)
		}
	}
}

func TestP7_ReplayIsMarkedAndHasAKeyOfItsOwn(t *testing.T) {
	a := attempt()
	a.Delivery = store.Delivery{Generation: 2, ReplayOf: 1}
	h := attemptHeader(a)
	if h.Get("Relay-Replay") != "1" || h.Get("Idempotency-Key") != a.Message.ID.String()+"-r2" {
		t.Errorf("Relay-Replay %q, Idempotency-Key %q", h.Get("Relay-Replay"), h.Get("Idempotency-Key"))
	}
	a.Message.Request.Header.Set("Idempotency-Key", "theirs")
	a.Message.EventID, a.Message.VerifiedBy = "evil\r\nX-Injected: 1", ""
	h = attemptHeader(a)
	if h.Get("Idempotency-Key") != "theirs" {
		t.Errorf("the sender's Idempotency-Key became %q", h.Get("Idempotency-Key"))
	}
	for _, name := range []string{"Relay-Event-Id", "Relay-Verified"} {
		if _, ok := h[name]; ok {
			t.Errorf("%s is %q", name, h.Get(name))
		}
	}
}

func TestAttemptDoesNotChangeTheMessage(t *testing.T) {
	a := attempt()
	before := a.Message.Request.Header.Clone()
	forwardOf(t, "{\n\t\t\trequest_header X-New 1\n\t\t\trequest_header Content-Type json changed\n\t\t\trespond 200\n\t\t}").Deliver(t.Context(), a)
	for name := range before {
		if strings.Join(before[name], "|") != strings.Join(a.Message.Request.Header[name], "|") {
			t.Errorf("%s became %q", name, a.Message.Request.Header[name])
		}
	}
	if len(a.Message.Request.Header) != len(before) {
		t.Errorf("headers became %v", a.Message.Request.Header)
	}
}

func TestShorthandWithAPathRewritesAndProxies(t *testing.T) {
	app := newUpstream(t, nil)
	if result := forwardOf(t, app.URL+"/webhooks/stripe").Deliver(t.Context(), attempt()); result.Outcome != store.Succeeded {
		t.Fatalf("%s %v", result.Outcome, result.Err)
	}
	if got := <-app.got; got.request.URL.Path != "/webhooks/stripe" {
		t.Errorf("path %s", got.request.URL.Path)
	}
}

func TestPlaceholdersAreKnownInAForward(t *testing.T) {
	a := attempt()
	const names = "{http.relay.id}|{http.relay.source}|{http.relay.event_id}|{http.relay.type}|{http.relay.destination}|{http.relay.attempt}|" +
		"{http.relay.received_at}|{http.relay.verified_by}|{http.relay.body.data.list.1}|{http.relay.body.data.customer}|{http.relay.body.none}|{client_ip}|{http.request.local.host}"
	result := forwardOf(t, "{\n\t\t\trespond \""+names+"\"\n\t\t}").Deliver(t.Context(), a)
	want := a.Message.ID.String() + "|in|evt_1|invoice.paid|in:default|2|2026-01-02T03:04:05.000678Z|stripe|2|{env.HOME}||198.51.100.7|192.0.2.2"
	if string(result.Head) != want {
		t.Errorf("got  %s\nwant %s", result.Head, want)
	}
}

func TestForwardThatEndsBadlyIsAFailedAttempt(t *testing.T) {
	breaking := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	busy := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		http.Error(w, "not now", http.StatusServiceUnavailable)
	})
	for name, tc := range map[string]struct {
		forward string
		outcome store.Outcome
		status  int
		text    string
	}{
		"upstream breaks off":  {breaking.addr(), store.Broken, 0, "ended before it was whole"},
		"upstream is busy":     {busy.addr(), store.Refused, 503, "app answered 503 to POST /in/stripe with Host hooks.example.com"},
		"upstream is down":     {deadAddr(t), store.Unreachable, 0, "connection refused"},
		"abort":                {"{\n\t\t\tabort\n\t\t}", store.Broken, 0, ""},
		"nothing answers":      {"{\n\t\t\trequest_header A b\n\t\t}", store.Unhandled, 0, "nothing in this forward answers"},
		"nothing matches":      {"{\n\t\t\thandle /other {\n\t\t\t\trespond 200\n\t\t\t}\n\t\t}", store.Unhandled, 0, "nothing in this forward answers"},
		"handle that is empty": {"{\n\t\t\thandle {\n\t\t\t\trequest_header A b\n\t\t\t}\n\t\t}", store.Unhandled, 0, "nothing in this forward answers"},
		"error directive":      {"{\n\t\t\terror \"no\" 404\n\t\t}", store.Refused, 404, "no"},
		"redirect":             {"{\n\t\t\tredir https://elsewhere.test/ 301\n\t\t}", store.Refused, 301, "https://elsewhere.test/"},
	} {
		t.Run(name, func(t *testing.T) {
			result := forwardOf(t, tc.forward).Deliver(t.Context(), attempt())
			if result.Outcome != tc.outcome || result.Status != tc.status || result.Err == nil || !strings.Contains(result.Err.Error(), tc.text) {
				t.Errorf("%s %d %v", result.Outcome, result.Status, result.Err)
			}
			if name == "upstream is busy" && result.RetryAfter != 7*time.Second {
				t.Errorf("RetryAfter %s", result.RetryAfter)
			}
		})
	}
}

func TestPanicInAForwardIsFenced(t *testing.T) {
	f := forwardOf(t, "{\n\t\t\trespond 200\n\t\t}")
	f.chain = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return panicking{}.ServeHTTP(w, r, nil)
	})
	result := f.Deliver(t.Context(), attempt())
	if result.Outcome != store.Broken || result.Status != 0 || !strings.Contains(result.Err.Error(), "boom") {
		t.Errorf("%s %d %v", result.Outcome, result.Status, result.Err)
	}
	if !logged("handler in forward panicked") {
		t.Error("the panic is not logged")
	}
}

func TestAttemptEndsWithItsTimeout(t *testing.T) {
	release := make(chan struct{})
	app := newUpstream(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if result := forwardOf(t, app.addr()).Deliver(ctx, attempt()); result.Outcome != store.TimedOut {
		t.Errorf("%s %v", result.Outcome, result.Err)
	}
	stopped, stop := context.WithCancelCause(t.Context())
	f := forwardOf(t, app.addr())
	done := make(chan relay.Result)
	go func() { done <- f.Deliver(stopped, attempt()) }()
	<-app.got
	<-app.got
	stop(context.Canceled)
	if result := <-done; result.Outcome != store.Aborted {
		t.Errorf("%s %v", result.Outcome, result.Err)
	}
}
