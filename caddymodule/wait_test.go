// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// waitFor is a relay for Stripe whose senders wait.
func waitFor(app *upstream, wait string, lines ...string) string {
	return "relay /in* " + app.addr() + " {\nverify stripe " + stripeSecret + "\nwait " + wait + "\nrespond 202 queued\n" + strings.Join(lines, "\n") + "\n}\nrespond 404"
}

// open returns how many deliveries of the relay are open.
func (s *served) open(t testing.TB) uint64 {
	t.Helper()
	books, err := s.app.engine.Books(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return books["in:default"].Open
}

func TestWaitPassesTheAnswerOn(t *testing.T) {
	app := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Add("Set-Cookie", "a=1")
		h.Add("Set-Cookie", "b=2")
		h.Set("Relay-Id", "mine")
		h.Set("Relay-Emit", "order.created")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("Proxy-Authenticate", "Basic")
		h.Set("Trailer", "X-Trailer")
		h.Set("Server", "app")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"text":"hello"}`)
		h.Set("X-Trailer", "late")
	})
	s := serveSite(t, waitFor(app, "10s"))
	resp, answer := s.send(t, passedBody, nil)
	if resp.StatusCode != http.StatusCreated || answer != `{"text":"hello"}` || resp.ContentLength != int64(len(answer)) {
		t.Errorf("answered %d %q of length %d", resp.StatusCode, answer, resp.ContentLength)
	}
	for name, want := range map[string][]string{
		"Content-Type": {"application/json"}, "Set-Cookie": {"a=1", "b=2"}, "Server": {"app"},
		"Relay-Id": nil, "Relay-Emit": nil, "Keep-Alive": nil, "Proxy-Authenticate": nil, "Trailer": nil, "X-Trailer": nil, "X-Content-Type-Options": nil,
	} {
		if got := resp.Header[name]; strings.Join(got, ",") != strings.Join(want, ",") {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(resp.Trailer) != 0 {
		t.Errorf("trailers %v", resp.Trailer)
	}
	if resp, answer := s.send(t, passedBody, nil); resp.StatusCode != http.StatusAccepted || answer != "queued" || len(app.got) != 1 {
		t.Errorf("the duplicate: %d %q, %d requests", resp.StatusCode, answer, len(app.got))
	}
	s.app.engine.Drain(t.Context())
	if used := s.app.engine.Budget().Used(); used != 0 {
		t.Errorf("%d bytes of the budget are still taken", used)
	}
}

// TestWaitAnswersByItself lists what the app says that is not passed on.
func TestWaitAnswersByItself(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"error":      func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusInternalServerError) },
		"redirect":   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) },
		"not found":  func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"large body": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxAnswer+1)) },
		"large head": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", maxAnswerHeader))
		},
		"broken body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "part")
			panic(http.ErrAbortHandler)
		},
		"nothing in time": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			app := newUpstream(t, answer)
			s := serveSite(t, waitFor(app, "200ms", "timeout 400ms"))
			resp, text := s.send(t, passedBody, nil)
			if resp.StatusCode != http.StatusAccepted || text != "queued" || resp.Header.Get("Location") != "" {
				t.Errorf("answered %d %q %v", resp.StatusCode, text, resp.Header)
			}
			<-app.got
		})
	}
}

func TestWaitPassesBodiesOfAllSizes(t *testing.T) {
	for name, tc := range map[string]struct {
		status, size int
	}{
		"204": {204, 0}, "205": {205, 0}, "empty 200": {200, 0}, "the limit": {200, maxAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			app := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = w.Write(make([]byte, tc.size))
			})
			s := serveSite(t, waitFor(app, "10s"))
			resp, answer := s.send(t, passedBody, nil)
			if resp.StatusCode != tc.status || len(answer) != tc.size || (tc.status != 204 && resp.ContentLength != int64(tc.size)) {
				t.Errorf("answered %d with %d bytes of %d", resp.StatusCode, len(answer), resp.ContentLength)
			}
		})
	}
}

func TestWaitOfHeadKeepsItsLength(t *testing.T) {
	app := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "42") })
	s := serveSite(t, "relay /in* "+app.addr()+" {\nmethods HEAD\nwait 10s\n}\nrespond 404")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodHead, s.URL+"/in", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ContentLength != 42 {
		t.Errorf("answered %d of length %d", resp.StatusCode, resp.ContentLength)
	}
}

func TestWaitOfADeadAppIsShort(t *testing.T) {
	app := newUpstream(t, nil)
	app.Close()
	s := serveSite(t, waitFor(app, "1h"))
	if resp, _ := s.send(t, passedBody, nil); resp.StatusCode != http.StatusAccepted {
		t.Errorf("answered %d", resp.StatusCode)
	}
	if s.open(t) != 1 {
		t.Error("the message is not kept")
	}
}

// TestP3_SenderThatHangsUpWhileItWaits ends the request while the app is at work:
// the attempt goes on, and is the only one.
func TestP3_SenderThatHangsUpWhileItWaits(t *testing.T) {
	begun, over := make(chan struct{}), make(chan struct{})
	app := newUpstream(t, func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-over
		if r.Context().Err() != nil {
			t.Error("the attempt was cut off with its sender")
		}
	})
	s := serveSite(t, waitFor(app, "1h"))
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		<-begun
		hangUp()
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/in", strings.NewReader(passedBody))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultTransport.RoundTrip(stripe(r, passedBody, stripeSecret, time.Now())); err == nil {
		resp.Body.Close()
		t.Fatal("answered")
	}
	// While the first is still at work, a duplicate does not wait.
	if resp, _ := s.send(t, passedBody, nil); resp.StatusCode != http.StatusAccepted {
		t.Errorf("the duplicate: %d", resp.StatusCode)
	}
	close(over)
	s.app.engine.Drain(t.Context())
	if n := len(app.got); n != 1 {
		t.Errorf("%d attempts", n)
	}
}
