// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// served is a site that Caddy's own server serves over real connections.
type served struct {
	*httptest.Server
	*running
}

// serveSite starts a Caddyfile of one site and serves it.
func serveSite(t testing.TB, site string) *served {
	t.Helper()
	r := start(t, "{\n\trelay {\n\t\tstore memory\n\t}\n}\n:0 {\n"+site+"\n}\n")
	module, err := r.ctx.App("http")
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range module.(*caddyhttp.App).Servers {
		s := &served{httptest.NewServer(server), r}
		t.Cleanup(s.Close)
		return s
	}
	t.Fatal("there is no server")
	return nil
}

// passTo is a relay for Stripe that passes, with what comes after it.
func passTo(rest string, lines ...string) string {
	return "relay /in* {\nverify stripe " + stripeSecret + "\npass\n" + strings.Join(lines, "\n") + "\n}\n" + rest
}

// send sends a signed event, which change may spoil, and reads the answer.
func (s *served) send(t testing.TB, body string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/in/x?a=b", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	stripe(r, body, stripeSecret, time.Now())
	if change != nil {
		change(r)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(answer)
}

const passedBody = "{ \"id\" : \"evt_1\",\"type\":\"invoice.paid\" }\n"

// TestP7_PassedRequestReachesTheAppAsItCame checks what goes on to a proxy behind
// the relay, in each way in which a site is written.
func TestP7_PassedRequestReachesTheAppAsItCame(t *testing.T) {
	app := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-App", "yes")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "made")
	})
	for name, rest := range map[string]string{
		"reverse_proxy": "reverse_proxy " + app.addr(),
		"handle":        "handle {\nreverse_proxy " + app.addr() + "\n}",
		"two handles":   "handle /other {\nrespond 404\n}\nhandle {\nreverse_proxy " + app.addr() + "\n}",
		"route":         "route {\nreverse_proxy " + app.addr() + "\n}",
		"encode":        "encode gzip\nreverse_proxy " + app.addr(),
	} {
		t.Run(name, func(t *testing.T) {
			s := serveSite(t, passTo(rest, "drop_header X-Drop"))
			resp, answer := s.send(t, passedBody, func(r *http.Request) {
				r.ContentLength = -1 // chunked
				for _, field := range []string{"Relay-Verified", "Relay-Id", "Relay-Other", "relay-lower", "X-Drop"} {
					r.Header[field] = []string{"forged"}
				}
				r.Header.Set("X-Own", "kept")
				r.Header.Set("Connection", "Relay-Verified")
			})
			if resp.StatusCode != http.StatusCreated || answer != "made" || resp.Header.Get("X-App") != "yes" {
				t.Errorf("answered %d %q %v", resp.StatusCode, answer, resp.Header)
			}
			got := <-app.got
			h := got.request.Header
			for field, want := range map[string]string{
				"Relay-Verified": "stripe", "Relay-Event-Id": "evt_1", "Relay-Type": "invoice.paid", "Relay-Source": "in",
				"Relay-Attempt": "1", "Relay-Other": "", "Relay-Lower": "", "X-Drop": "", "X-Own": "kept", "Idempotency-Key": h.Get("Relay-Id"),
			} {
				if h.Get(field) != want {
					t.Errorf("%s is %q, want %q", field, h.Get(field), want)
				}
			}
			if !strings.HasPrefix(h.Get("Relay-Id"), "msg_") || h.Get("Stripe-Signature") == "" || h.Get("Relay-Received-At") == "" {
				t.Errorf("headers %v", h)
			}
			if string(got.body) != passedBody || got.request.ContentLength != int64(len(passedBody)) || got.request.RequestURI != "/in/x?a=b" {
				t.Errorf("the app gets %s of %q, announced as %d", got.request.RequestURI, got.body, got.request.ContentLength)
			}
			if resp, answer := s.send(t, passedBody, nil); resp.StatusCode != http.StatusOK || answer != "" || len(app.got) != 0 {
				t.Errorf("the duplicate: %d %q, %d requests", resp.StatusCode, answer, len(app.got))
			}
			s.Close()
			if used := s.app.engine.Budget().Used(); used != 0 {
				t.Errorf("%d bytes of the budget are still taken", used)
			}
		})
	}
}

func TestForgedAndUnwantedRequestsDoNotPass(t *testing.T) {
	app := newUpstream(t, nil)
	s := serveSite(t, passTo("reverse_proxy "+app.addr(), "events invoice.*", "respond 202 ok"))
	for name, tc := range map[string]struct {
		body   string
		change func(*http.Request)
		status int
	}{
		"forged":        {`{"id":"evt_1","type":"invoice.paid"}`, func(r *http.Request) { r.Header.Set("Stripe-Signature", "t=1,v1=00") }, 400},
		"other secret":  {`{"id":"evt_1","type":"invoice.paid"}`, func(r *http.Request) { stripe(r, "x", stripeSecret, time.Now()) }, 401},
		"other method":  {`{"id":"evt_1","type":"invoice.paid"}`, func(r *http.Request) { r.Method = http.MethodPut }, 405},
		"filtered type": {`{"id":"evt_1","type":"order.paid"}`, nil, 202},
	} {
		t.Run(name, func(t *testing.T) {
			if resp, _ := s.send(t, tc.body, tc.change); resp.StatusCode != tc.status || len(app.got) != 0 {
				t.Errorf("answered %d, %d requests reached the app", resp.StatusCode, len(app.got))
			}
		})
	}
	if resp, _ := s.send(t, `{"id":"evt_1","type":"invoice.paid"}`, nil); resp.StatusCode != http.StatusOK || len(app.got) != 1 {
		t.Errorf("the good one: %d", resp.StatusCode)
	}
}

// TestKeyIsNotKeptWithoutSuccess sends an event until the app has taken it.
func TestKeyIsNotKeptWithoutSuccess(t *testing.T) {
	var turn atomic.Int32
	app := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch turn.Add(1) {
		case 1:
			http.Error(w, "no", http.StatusInternalServerError)
		case 2:
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound)
		case 3:
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusNoContent)
		}
	})
	s := serveSite(t, passTo("reverse_proxy "+app.addr()))
	for _, want := range []int{500, 302, 429, 204, 200, 200} {
		if resp, _ := s.send(t, passedBody, nil); resp.StatusCode != want {
			t.Errorf("answered %d, want %d", resp.StatusCode, want)
		}
	}
	if n := len(app.got); n != 4 {
		t.Errorf("%d requests reached the app", n)
	}
}

// TestErrorBehindPassIsNoSuccess has the site's handle_errors answer 200, which
// must not reach the sender of a webhook that nobody has taken.
func TestErrorBehindPassIsNoSuccess(t *testing.T) {
	const errorsAre200 = "\nhandle_errors {\nrespond \"all well\" 200\n}"
	for name, tc := range map[string]struct {
		rest   string
		status int
		log    string
	}{
		"app is down":     {"reverse_proxy " + deadAddr(t) + errorsAre200, 502, "connection refused"},
		"error directive": {"error \"no\" 418" + errorsAre200, 418, "no"},
		"nobody answers":  {"handle /elsewhere {\nrespond 200\n}" + errorsAre200, 503, "nothing behind pass answers"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveSite(t, passTo(tc.rest))
			for range 2 {
				resp, answer := s.send(t, passedBody, nil)
				if resp.StatusCode != tc.status || answer != http.StatusText(tc.status) || (resp.Header.Get("Retry-After") != "") != (tc.status == 503) {
					t.Errorf("answered %d %q %v", resp.StatusCode, answer, resp.Header)
				}
			}
			if !logged(tc.log) {
				t.Errorf("%q is not logged", tc.log)
			}
		})
	}
}

func TestPanicBehindPassKeepsNoKey(t *testing.T) {
	s := serveSite(t, passTo("abort"))
	for range 2 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/in", strings.NewReader(passedBody))
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultTransport.RoundTrip(stripe(r, passedBody, stripeSecret, time.Now())); err == nil {
			resp.Body.Close()
			t.Errorf("answered %d", resp.StatusCode)
		}
	}
}

// TestPassedAnswerStreams reads the first part of an answer before the app writes
// the second.
func TestPassedAnswerStreams(t *testing.T) {
	read := make(chan struct{})
	app := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one\n")
		w.(http.Flusher).Flush()
		<-read
		_, _ = io.WriteString(w, "two\n")
	})
	s := serveSite(t, passTo("reverse_proxy "+app.addr()+" {\nflush_interval -1\n}"))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/in", strings.NewReader(passedBody))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(stripe(r, passedBody, stripeSecret, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); line != "one\n" {
		t.Errorf("read %q, %v", line, err)
	}
	close(read)
	if line, err := lines.ReadString('\n'); line != "two\n" {
		t.Errorf("read %q, %v", line, err)
	}
}

// TestP2_OnePassOfConcurrentDuplicates sends one event many times at once to an
// app that fails at first.
func TestP2_OnePassOfConcurrentDuplicates(t *testing.T) {
	var calls, running, successes atomic.Int32
	app := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		if running.Add(1) > 1 {
			t.Error("two of one event are in the app at once")
		}
		defer running.Add(-1)
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		successes.Add(1)
	})
	s := serveSite(t, passTo("reverse_proxy "+app.addr()))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { s.send(t, passedBody, nil) })
	}
	wg.Wait()
	if n := successes.Load(); n != 1 {
		t.Errorf("the app has taken the event %d times", n)
	}
}

func TestPassWithoutAStoreOnlyVerifies(t *testing.T) {
	app := newUpstream(t, nil)
	s := serveSite(t, passTo("reverse_proxy "+app.addr(), "dedupe off"))
	ids := make(map[string]bool)
	for range 3 {
		if resp, _ := s.send(t, passedBody, nil); resp.StatusCode != http.StatusOK {
			t.Errorf("answered %d", resp.StatusCode)
		}
		got := <-app.got
		ids[got.request.Header.Get("Relay-Id")] = true
	}
	if len(ids) != 3 {
		t.Errorf("ids %v", ids)
	}
}

// TestP2_SuccessWithoutItsKeyIsRefused closes the store while the app is at work:
// its 2xx must not go out, nor anything of its answer.
func TestP2_SuccessWithoutItsKeyIsRefused(t *testing.T) {
	var s *served
	app := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		st, err := s.app.engine.Store()
		if err != nil {
			t.Error(err)
			return
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		w.Header().Set("Set-Cookie", "session=1")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"done":true}`)
	})
	s = serveSite(t, passTo("header X-Site yes\nreverse_proxy "+app.addr()))
	resp, answer := s.send(t, passedBody, nil)
	if resp.StatusCode != http.StatusServiceUnavailable || answer != "Service Unavailable" || resp.Header.Get("Retry-After") == "" ||
		resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("X-Site") != "yes" {
		t.Errorf("answered %d %q %v", resp.StatusCode, answer, resp.Header)
	}
}

func TestPassWriterWithholdsEverything(t *testing.T) {
	app := newUpstream(t, nil)
	s := serveSite(t, passTo("reverse_proxy "+app.addr()))
	h := s.relay["in"]
	st, err := s.app.engine.Store()
	if err != nil {
		t.Fatal(err)
	}
	next := func(w http.ResponseWriter, _ *http.Request) error {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		w.Header().Set("X-App", "yes")
		rc := http.NewResponseController(w)
		if err := rc.Flush(); err != nil {
			t.Errorf("Flush: %v", err)
		}
		if n, err := io.Copy(w, strings.NewReader("secret")); n != 6 || err != nil {
			t.Errorf("ReadFrom: %d, %v", n, err)
		}
		if n, err := w.Write([]byte("more")); n != 4 || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
		if _, _, err := rc.Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Hijack: %v", err)
		}
		return nil
	}
	w := serveNext(t, h, signed("/in", passedBody), next)
	if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "secret") || w.Header().Get("X-App") != "" {
		t.Errorf("answered %d %q %v", w.Code, w.Body, w.Header())
	}
}

// TestPassExcludesInJSONToo checks configurations that no Caddyfile comes from.
func TestPassExcludesInJSONToo(t *testing.T) {
	verified := []json.RawMessage{[]byte(`{"scheme":"stripe"}`)}
	for name, tc := range map[string]struct {
		handler Handler
		want    string
	}{
		"policy":       {Handler{Pass: true, VerifyRaw: verified, Policy: Policy{Timeout: 1, MaxInFlight: 2}}, "take out max_in_flight, timeout"},
		"destinations": {Handler{Pass: true, VerifyRaw: verified, Destinations: []*Destination{{Name: "a"}}}, "take out destination"},
		"wait":         {Handler{Pass: true, VerifyRaw: verified, Wait: 1}, "take out wait"},
		"nothing":      {Handler{Pass: true}, "pass does nothing by itself"},
		"negative":     {Handler{Wait: -1}, "wait must be positive"},
		"two to wait":  {Handler{Wait: 1, Destinations: []*Destination{{Name: "a"}, {Name: "b"}}}, "this relay has 2"},
		"alone":        {Handler{Pass: true, VerifyRaw: verified}, ""},
		"dedupe only":  {Handler{Pass: true, Dedupe: &Dedupe{Keys: []string{"body"}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tc.handler.Name = "x"
			if err := tc.handler.check(); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}
