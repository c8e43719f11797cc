// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/wire"
)

func TestOutcomeIsReadFromContextThenErrorThenStatus(t *testing.T) {
	live := t.Context()
	late, cancelLate := context.WithDeadline(live, time.Unix(0, 0))
	defer cancelLate()
	gone, cancel := context.WithCancelCause(live)
	cancel(errors.New("relay is shutting down"))
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		status int
		err    error
		want   store.Outcome
		code   int
		text   string
	}{
		{"success", live, 204, nil, store.Succeeded, 204, ""},
		{"refusal", live, 422, nil, store.Refused, 422, "app answered 422 to POST /in/stripe with Host app.test"},
		{"redirect", live, 301, nil, store.Refused, 301, "app answered 301 to https://app.test/: redirects are failures"},
		{"switched protocols", live, 101, nil, store.Broken, 0, "it switched protocols"},
		{"no status of HTTP", live, noStatus, nil, store.Unreachable, 0, "a status below 100"},
		{"nothing answered", live, 0, nil, store.Unhandled, 0, "nothing in this forward answers"},
		{"end of the chain", live, 0, errUnhandled, store.Unhandled, 0, "nothing in this forward answers"},
		{"dial error", live, 0, caddyhttp.Error(502, errors.New("dial tcp 127.0.0.1:1: connection refused")), store.Unreachable, 0, "dial tcp 127.0.0.1:1: connection refused"},
		{"no upstreams", live, 0, caddyhttp.Error(503, errors.New("no upstreams available")), store.Unreachable, 0, "no upstreams available"},
		{"error directive", live, 0, caddyhttp.Error(403, nil), store.Refused, 403, "answered 403"},
		{"other error", live, 0, errors.New("boom"), store.Unreachable, 0, "boom"},
		{"timeout that looks like success", late, 200, nil, store.TimedOut, 0, "no complete answer within the timeout"},
		{"shutdown that looks like a refusal", gone, 499, nil, store.Aborted, 0, "shutting down"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rec := newCapture(nil)
			rec.status, rec.head = tc.status, []byte("no CSRF\ntoken")
			rec.header.Set("Location", "https://app.test/?code=hidden")
			r, _ := http.NewRequest(http.MethodPost, "http://app.test/in/stripe?token=hidden", nil)
			got := classify(tc.ctx, r, rec, tc.err)
			if got.Outcome != tc.want || got.Status != tc.code {
				t.Errorf("%s %d, want %s %d", got.Outcome, got.Status, tc.want, tc.code)
			}
			if tc.text == "" {
				if got.Err != nil {
					t.Errorf("error %v", got.Err)
				}
				return
			}
			if got.Err == nil || !strings.Contains(got.Err.Error(), tc.text) || strings.Contains(got.Err.Error(), "hidden") || strings.Contains(got.Err.Error(), "CSRF") {
				t.Errorf("error %v, want one with %q", got.Err, tc.text)
			}
		})
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                               0,
		"0":                              0,
		"120":                            2 * time.Minute,
		"Fri, 02 Jan 2026 03:05:05 GMT":  time.Minute,
		"Fri, 02 Jan 2026 03:03:05 GMT":  0,
		"-1":                             0,
		"+1":                             0,
		"1.5":                            0,
		"1e3":                            0,
		" 1":                             0,
		"99999999999999999999":           0,
		"2026-01-02T03:05:05Z":           0,
		"Fri, 02 Jan 2026 03:05:05 CEST": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("retryAfter(%q) = %s, want %s", value, got, want)
		}
	}
}

func FuzzF12_RetryAfter(f *testing.F) {
	for _, seed := range []string{"1", "Fri, 02 Jan 2026 03:05:05 GMT", "-5", "٣", "1\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if got := retryAfter(value, time.Unix(0, 0)); got < 0 {
			t.Errorf("retryAfter(%q) = %s", value, got)
		}
	})
}

func TestCaptureSkipsInterimAnswersAndCapsTheBody(t *testing.T) {
	c := newCapture(nil)
	c.WriteHeader(http.StatusEarlyHints)
	if c.status != 0 {
		t.Errorf("status %d after 103", c.status)
	}
	c.WriteHeader(http.StatusAccepted)
	c.WriteHeader(http.StatusInternalServerError)
	for range 100 {
		if n, err := c.Write(make([]byte, 100)); n != 100 || err != nil {
			t.Fatal(n, err)
		}
	}
	if c.status != http.StatusAccepted || len(c.head) != wire.HeadSize {
		t.Errorf("status %d, %d bytes", c.status, len(c.head))
	}
}

// A dialer that looks at the deadline by itself may fail before the context knows.
func TestTimeIsOverThoughTheContextDoesNotSaySoYet(t *testing.T) {
	late := &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	for _, tc := range []struct {
		name string
		ends time.Duration
		err  error
		want store.Outcome
	}{
		{"the time of the attempt", -time.Millisecond, late, store.TimedOut},
		{"the same by a proxy", -time.Millisecond, caddyhttp.Error(502, late), store.TimedOut},
		{"the same by Caddy's dialer", -time.Millisecond, caddyhttp.Error(502, reverseproxy.NewDialError(late)), store.TimedOut},
		{"no connection by it, just then", -time.Millisecond, caddyhttp.Error(502, reverseproxy.NewDialError(refused)), store.Unreachable},
		{"the time for a connection", time.Hour, late, store.Unreachable},
		{"no connection, just then", -time.Millisecond, refused, store.Unreachable},
		{"an answer, just then", -time.Millisecond, nil, store.Succeeded},
	} {
		rec := newCapture(nil)
		rec.status = http.StatusOK
		ctx := slowContext{t.Context(), time.Now().Add(tc.ends)}
		if got := classify(ctx, new(http.Request), rec, tc.err); got.Outcome != tc.want {
			t.Errorf("%s: %s %v", tc.name, got.Outcome, got.Err)
		}
	}
}

// slowContext is one that does not know yet that its deadline is over.
type slowContext struct {
	context.Context
	deadline time.Time
}

func (c slowContext) Deadline() (time.Time, bool) { return c.deadline, true }
