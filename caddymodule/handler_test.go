// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const stripeSecret = "whsec_0123456789abcdef0123"

// stripe signs a request as Stripe does, at a time.
func stripe(r *http.Request, body, secret string, at time.Time) *http.Request {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	r.Header.Set("Stripe-Signature", fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil))))
	return r
}

// signed is a good request of Stripe's.
func signed(path, body string) *http.Request {
	return stripe(post(path, body), body, stripeSecret, time.Now())
}

// relayOf starts a relay for Stripe that leads to an app, with further lines in
// its block, and returns its handler.
func relayOf(t testing.TB, app *upstream, lines ...string) (*Handler, *running) {
	t.Helper()
	block := "\t\tverify stripe " + stripeSecret + "\n"
	for _, line := range lines {
		block += "\t\t" + line + "\n"
	}
	r := start(t, "{\n\trelay {\n\t\tstore memory\n\t}\n}\n:0 {\n\trelay /in "+app.addr()+" {\n"+block+"\t}\n}\n")
	for _, h := range r.relay {
		return h, r
	}
	t.Fatal("there is no relay")
	return nil, nil
}

func TestAcceptedRequestIsAnsweredAndDelivered(t *testing.T) {
	app := newUpstream(t, nil)
	h, r := relayOf(t, app)
	const body = `{"id":"evt_1","type":"invoice.paid","object":"event"}`
	w := serve(t, h, signed("/in", body))
	if w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("answered %d %q %v", w.Code, w.Body, w.Header())
	}
	got := <-app.got
	if string(got.body) != body || got.request.Header.Get("Relay-Verified") != "stripe" || got.request.Header.Get("Relay-Event-Id") != "evt_1" {
		t.Errorf("delivered %s with %v", got.body, got.request.Header)
	}
	if w := serve(t, h, signed("/in", body)); w.Code != http.StatusOK {
		t.Errorf("the duplicate got %d", w.Code)
	}
	if books, err := r.app.engine.Books(t.Context()); err != nil || books["in:default"].Made != 1 {
		t.Errorf("books %+v, %v", books, err)
	}
	if !logged("duplicate") {
		t.Error("the duplicate is not logged")
	}
	r.app.engine.Drain(t.Context())
	if used := r.app.engine.Budget().Used(); used != 0 {
		t.Errorf("%d bytes of the budget are still taken", used)
	}
}

func TestRefusalsByStatus(t *testing.T) {
	app := newUpstream(t, nil)
	h, r := relayOf(t, app, "max_size 100B")
	const body = `{"id":"evt_1"}`
	large := strings.Repeat("x", 101)
	now := time.Now().Truncate(time.Second)
	h.now = func() time.Time { return now }
	old := now.Add(-412 * time.Second)
	chunked := post("/in", large)
	chunked.ContentLength = -1
	forged := signed("/in", body)
	forged.Header.Set("Stripe-Signature", "t="+strconv.FormatInt(time.Now().Unix(), 10)+",v1="+strings.Repeat("00", 32))
	github := post("/in", body)
	github.Header.Set("X-Hub-Signature-256", "sha256="+strings.Repeat("00", 32))
	broken := signed("/in", body)
	broken.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), errReader{}))
	for name, tc := range map[string]struct {
		request *http.Request
		status  int
		reason  string
		log     string
	}{
		"method":         {httptest.NewRequest(http.MethodGet, "/in", nil), 405, "method", "refused: method"},
		"announced size": {post("/in", large), 413, "too_large", "refused: too_large"},
		"chunked size":   {chunked, 413, "too_large", "refused: too_large"},
		"body that ends": {broken, 503, "body", "connection lost"},
		"no signature":   {post("/in", body), 400, "missing", "no Stripe-Signature"},
		"other provider": {github, 400, "missing", "no Stripe-Signature, but X-Hub-Signature-256 is present: this looks like github"},
		"forged":         {forged, 401, "mismatch", "signature does not match the one secret (body 14 B sha256"},
		"other secret":   {stripe(post("/in", body), body, "wrong", time.Now()), 401, "mismatch", "does not match"},
		"stale":          {stripe(post("/in", body), body, stripeSecret, old), 400, "stale", "signed 412 s ago, limit 300 s: clock of this host?"},
		"malformed":      {withHeader(post("/in", body), "Stripe-Signature", "t=x,v1=y"), 400, "malformed", "refused: malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			before := counted(metrics.requests.WithLabelValues("in", tc.reason))
			w := serve(t, h, tc.request)
			if w.Code != tc.status {
				t.Errorf("answered %d, want %d", w.Code, tc.status)
			}
			if w.Body.String() != http.StatusText(tc.status) || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("the sender gets %q, %v", w.Body, w.Header())
			}
			if (w.Header().Get("Retry-After") != "") != (tc.status == 503) || (w.Header().Get("Allow") != "") != (tc.status == 405) {
				t.Errorf("headers %v", w.Header())
			}
			if !logged(tc.log) || !logged(`source="in"`) {
				t.Errorf("%q is not logged", tc.log)
			}
			if after := counted(metrics.requests.WithLabelValues("in", tc.reason)); after != before+1 {
				t.Errorf("counted %g times as %s", after-before, tc.reason)
			}
		})
	}
	if books, err := r.app.engine.Books(t.Context()); err != nil || len(books) != 0 {
		t.Errorf("books %+v, %v", books, err)
	}
	if used := r.app.engine.Budget().Used(); used != 0 {
		t.Errorf("%d bytes of the budget are still taken", used)
	}
}

func TestMethodThatIsNotTakenIsNoWarning(t *testing.T) {
	r := start(t, memoryOptions+":0 {\nrelay /in localhost:1 {\nverify stripe "+stripeSecret+"\n}\nrespond 404\n}\n")
	serve(t, r.relay["in"], httptest.NewRequest(http.MethodGet, "/in", nil))
	serve(t, r.relay["in"], post("/in", "{}"))
	for message, level := range map[string]zapcore.Level{"refused: method": zapcore.InfoLevel, "refused: missing": zapcore.WarnLevel} {
		if lines := logs().FilterMessage(message).All(); len(lines) != 1 || lines[0].Level != level {
			t.Errorf("%s: %+v", message, lines)
		}
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, fmt.Errorf("connection lost") }

func withHeader(r *http.Request, name, value string) *http.Request {
	r.Header.Set(name, value)
	return r
}

func TestRejectStatusReplacesOnlyThe401(t *testing.T) {
	h, _ := relayOf(t, newUpstream(t, nil), "reject_status 403")
	if w := serve(t, h, stripe(post("/in", "{}"), "{}", "wrong", time.Now())); w.Code != http.StatusForbidden {
		t.Errorf("a forged request got %d", w.Code)
	}
	if w := serve(t, h, post("/in", "{}")); w.Code != http.StatusBadRequest {
		t.Errorf("an unsigned request got %d", w.Code)
	}
}

func TestP10_ExhaustedMemoryIsA503WithJitter(t *testing.T) {
	h, r := relayOf(t, newUpstream(t, nil))
	for i := range 2 {
		other := r.app.engine.Budget().Reserve(strconv.Itoa(i))
		if !other.Grow(r.app.generation.MaxBuffer / 2) {
			t.Fatal("no memory to begin with")
		}
		defer other.Release()
	}
	delays := make(map[string]bool)
	for range 100 {
		w := serve(t, h, signed("/in", `{"id":"evt_1"}`))
		seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
		if w.Code != 503 || err != nil || seconds < 1 || seconds > 10 || w.Header().Get("Connection") != "close" {
			t.Fatalf("answered %d with %v", w.Code, w.Header())
		}
		delays[w.Header().Get("Retry-After")] = true
	}
	if len(delays) < 3 {
		t.Errorf("Retry-After is always one of %v", delays)
	}
}

func TestP2_ClosedEngineIsA503(t *testing.T) {
	h, r := relayOf(t, newUpstream(t, nil))
	r.stop()
	for random, want := range map[int]string{0: "15", 44: "59", 45: "60"} {
		h.random = func(int) int { return random }
		if w := serve(t, h, signed("/in", `{"id":"evt_1"}`)); w.Code != 503 || w.Header().Get("Retry-After") != want {
			t.Errorf("answered %d with %v", w.Code, w.Header())
		}
	}
}

func TestEventsFilter(t *testing.T) {
	app := newUpstream(t, nil)
	h, r := relayOf(t, app, "events invoice.*")
	before := counted(metrics.requests.WithLabelValues("in", "filtered"))
	if w := serve(t, h, signed("/in", `{"id":"evt_1","type":"charge.failed"}`)); w.Code != 200 {
		t.Errorf("the filtered event got %d", w.Code)
	}
	if books, _ := r.app.engine.Books(t.Context()); len(books) != 0 {
		t.Errorf("the filtered event is in the books: %v", books)
	}
	if after := counted(metrics.requests.WithLabelValues("in", "filtered")); after != before+1 {
		t.Error("the filtered event is not counted")
	}
	serve(t, h, signed("/in", `{"id":"evt_2","type":"invoice.paid"}`))
	if got := <-app.got; got.request.Header.Get("Relay-Event-Id") != "evt_2" {
		t.Errorf("delivered %s", got.body)
	}
}

func TestDestinationsTakeTheEventsTheyWant(t *testing.T) {
	billing, ledger := newUpstream(t, nil), newUpstream(t, nil)
	r := start(t, "{\n\trelay {\n\t\tstore memory\n\t}\n}\n:0 {\n\trelay /in {\n\t\tverify stripe "+stripeSecret+"\n"+
		"\t\tdestination billing {\n\t\t\tevents invoice.*\n\t\t\tforward "+billing.addr()+"\n\t\t}\n"+
		"\t\tdestination ledger {\n\t\t\tforward "+ledger.addr()+"\n\t\t}\n\t}\n}\n")
	h := r.relay["in"]
	serve(t, h, signed("/in", `{"id":"evt_1","type":"charge.failed"}`))
	serve(t, h, signed("/in", `{"id":"evt_2","type":"invoice.paid"}`))
	if got := <-billing.got; got.request.Header.Get("Relay-Event-Id") != "evt_2" {
		t.Errorf("billing got %s", got.body)
	}
	<-ledger.got
	<-ledger.got
	books, err := r.app.engine.Books(t.Context())
	made := make(map[string]uint64)
	for id, b := range books {
		made[id] = b.Made
	}
	if want := map[string]uint64{"in:billing": 1, "in:ledger": 2}; err != nil || !maps.Equal(made, want) {
		t.Errorf("made %v, %v", made, err)
	}
}

func TestRespondAsConfigured(t *testing.T) {
	for line, want := range map[string]struct {
		status            int
		contentType, body string
	}{
		"respond 202":                       {202, "", ""},
		"respond 204":                       {204, "", ""},
		"respond 200 OK":                    {200, "text/plain; charset=utf-8", "OK"},
		"respond 200 `{\"received\":true}`": {200, "application/json", `{"received":true}`},
		"respond 200 {http.request.uri}":    {200, "text/plain; charset=utf-8", "{http.request.uri}"},
	} {
		h, r := relayOf(t, newUpstream(t, nil), line)
		w := serve(t, h, signed("/in", `{"id":"evt_1"}`))
		if w.Code != want.status || w.Body.String() != want.body || w.Header().Get("Content-Type") != want.contentType {
			t.Errorf("%s: answered %d %q %v", line, w.Code, w.Body, w.Header())
		}
		r.stop()
	}
}

func TestDedupeRules(t *testing.T) {
	send := func(t *testing.T, h *Handler, bodies ...string) []int {
		var statuses []int
		for _, body := range bodies {
			statuses = append(statuses, serve(t, h, signed("/in", body)).Code)
		}
		return statuses
	}
	for name, tc := range map[string]struct {
		line   string
		bodies []string
		made   uint64
		last   int
	}{
		"preset":            {"", []string{`{"id":"a"}`, `{"id":"a","pending_webhooks":1}`, `{"id":"b"}`}, 2, 200},
		"preset without id": {"", []string{`{}`, `{}`}, 2, 200},
		"off":               {"dedupe off", []string{`{"id":"a"}`, `{"id":"a"}`}, 2, 200},
		"key":               {"dedupe {http.relay.body.order} 48h", []string{`{"id":"a","order":1}`, `{"id":"b","order":1}`, `{"id":"a","order":2}`}, 2, 200},
		"body":              {"dedupe body", []string{`{"id":"a"}`, `{"id":"a"}`, `{"id":"a" }`}, 2, 200},
		"required":          {"dedupe {http.relay.body.order} {\n\t\t\trequired\n\t\t}", []string{`{"id":"a","order":1}`, `{"id":"a"}`}, 1, 400},
		"unsigned header":   {"dedupe {http.request.header.X-Order}", []string{`{"id":"a"}`, `{"id":"b"}`}, 2, 200},
	} {
		t.Run(name, func(t *testing.T) {
			h, r := relayOf(t, newUpstream(t, nil), tc.line)
			before := counted(metrics.undeduped.WithLabelValues("in"))
			statuses := send(t, h, tc.bodies...)
			if got := made(t, r); got != tc.made || statuses[len(statuses)-1] != tc.last {
				t.Errorf("%d deliveries and %v, want %d and %d at last", got, statuses, tc.made, tc.last)
			}
			if undeduped := counted(metrics.undeduped.WithLabelValues("in")) - before; name == "preset without id" && undeduped != 2 {
				t.Errorf("%g requests counted as undeduped", undeduped)
			}
		})
	}
}

func TestSeveralSchemesAndTheNearestFailure(t *testing.T) {
	app := newUpstream(t, nil)
	h, _ := relayOf(t, app, "verify github 0123456789abcdef0123")
	body := `{"action":"opened"}`
	mac := hmac.New(sha256.New, []byte("0123456789abcdef0123"))
	mac.Write([]byte(body))
	good := withHeader(post("/in", body), "X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	good.Header.Set("X-GitHub-Event", "issues")
	if w := serve(t, h, good); w.Code != 200 {
		t.Fatalf("answered %d", w.Code)
	}
	if got := <-app.got; got.request.Header.Get("Relay-Verified") != "github" || got.request.Header.Get("Relay-Type") != "issues" {
		t.Errorf("delivered with %v", got.request.Header)
	}
	forged := withHeader(post("/in", body), "X-Hub-Signature-256", "sha256="+strings.Repeat("00", 32))
	if w := serve(t, h, forged); w.Code != 401 {
		t.Errorf("a request that GitHub did not sign got %d", w.Code)
	}
	if h.MaxSize != 25<<20 {
		t.Errorf("max_size is %d though GitHub sends more", h.MaxSize)
	}
}

func TestSchemeVerifiesTheOriginalURLAndUpstreamGetsTheRewritten(t *testing.T) {
	app := newUpstream(t, nil)
	r := start(t, "{\n\trelay {\n\t\tstore memory\n\t}\n}\n:0 {\n\trelay "+app.addr()+" {\n\t\tverify hmac sha256 0123456789abcdef0123 {\n\t\t\theader X-Sig\n\t\t\tpayload \"{http.request.uri}.{http.request.body}\"\n\t\t}\n\t}\n}\n")
	mac := hmac.New(sha256.New, []byte("0123456789abcdef0123"))
	mac.Write([]byte("/hooks/in?a=%2F.body"))
	request := withHeader(post("/hooks/in?a=%2F", "body"), "X-Sig", hex.EncodeToString(mac.Sum(nil)))
	w := httptest.NewRecorder()
	request = caddyhttp.PrepareRequest(request, caddy.NewReplacer(), w, new(caddyhttp.Server))
	request.URL.Path, request.RequestURI = "/in", "/in?a=%2F"
	if err := r.relay["default"].ServeHTTP(w, request, nil); err != nil || w.Code != 200 {
		t.Fatalf("answered %d, %v", w.Code, err)
	}
	if got := <-app.got; got.request.RequestURI != "/in?a=%2F" {
		t.Errorf("upstream got %s", got.request.RequestURI)
	}
}

func TestPlaceholdersAreKnownAfterIngress(t *testing.T) {
	h, _ := relayOf(t, newUpstream(t, nil))
	w := httptest.NewRecorder()
	repl := caddy.NewReplacer()
	r := caddyhttp.PrepareRequest(signed("/in", `{"id":"evt_1","type":"a.b"}`), repl, w, new(caddyhttp.Server))
	if err := h.ServeHTTP(w, r, nil); err != nil {
		t.Fatal(err)
	}
	got := repl.ReplaceAll("{http.relay.id} {http.relay.source} {http.relay.event_id} {http.relay.type} {http.relay.body.id} {http.relay.attempt}", "-")
	id, rest, _ := strings.Cut(got, " ")
	if _, err := store.ParseMessageID(id); err != nil || rest != "in evt_1 a.b evt_1 -" {
		t.Errorf("got %s", got)
	}
}

func TestDeliveryCanNotEnterARelay(t *testing.T) {
	h, _ := relayOf(t, newUpstream(t, nil))
	a := attempt()
	f, err := rebuild(t.Context(), &a.Message.Request, attemptHeader(a))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.ServeHTTP(httptest.NewRecorder(), f, nil); err == nil {
		t.Error("the relay took a delivery")
	}
}

// panickingBody panics when it is read for the second time, with memory already taken.
type panickingBody struct{ reads int }

func (b *panickingBody) Read(p []byte) (int, error) {
	if b.reads++; b.reads > 1 {
		panic(http.ErrAbortHandler)
	}
	return 1, nil
}

func (*panickingBody) Close() error { return nil }

func TestP10_MemoryComesBackWhenARequestPanics(t *testing.T) {
	h, _ := relayOf(t, newUpstream(t, nil))
	r := signed("/in", "{}")
	r.Body, r.ContentLength = new(panickingBody), 100
	func() {
		defer func() { _ = recover() }()
		serve(t, h, r)
		t.Error("nothing panicked")
	}()
	if used := h.engine.Budget().Used(); used != 0 {
		t.Errorf("%d bytes of the budget are lost", used)
	}
}

func TestUpstreamGetsAURIWhateverARewriteLeft(t *testing.T) {
	for given, want := range map[string]string{"/a?b=c": "/a?b=c", "a/b": "/a/b", "": "/"} {
		if got := rooted(given); got != want {
			t.Errorf("%q becomes %q, want %q", given, got, want)
		}
	}
}
