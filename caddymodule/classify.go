// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// errUnhandled is what the end of a forward answers.
var errUnhandled = errors.New("nothing in this forward answers: end it with reverse_proxy or another directive that does")

// classify says how an attempt ended: by its context first, since a canceled
// proxy looks like success, then by the error, then by the status. r is the
// request as the chain has left it.
func classify(ctx context.Context, r *http.Request, rec *capture, err error) relay.Result {
	if cause := ctx.Err(); cause != nil {
		return cutOff(ctx, cause)
	}
	if overdue(ctx, err) {
		return cutOff(ctx, context.DeadlineExceeded)
	}
	if errors.Is(err, errUnhandled) {
		return relay.Result{Outcome: store.Unhandled, Err: errUnhandled}
	}
	if err != nil {
		return failed(err)
	}
	result := relay.Result{Outcome: store.Succeeded, Status: rec.status, Head: rec.head}
	switch {
	case rec.status == 0:
		return relay.Result{Outcome: store.Unhandled, Err: errUnhandled}
	case rec.status == noStatus:
		return relay.Result{Outcome: store.Unreachable, Err: errors.New("app answered with a status below 100, which HTTP has not")}
	case rec.status == http.StatusSwitchingProtocols:
		return relay.Result{Outcome: store.Broken, Err: errors.New("app answered 101: it switched protocols and gave no answer")}
	case rec.status < 300:
		return result
	}
	result.Outcome = store.Refused
	result.RetryAfter = retryAfter(rec.header.Get("Retry-After"), time.Now())
	result.Err = refused(r, rec)
	return result
}

// overdue reports whether an error is that the time of an attempt is over. A dialer
// and a resolver look at the deadline themselves, and may see it a moment before
// the context has ended.
func overdue(ctx context.Context, err error) bool {
	deadline, ok := ctx.Deadline()
	return ok && timedOut(err) && !time.Now().Before(deadline)
}

// timedOut reports whether an error is that of a timeout. Of a connection that a proxy
// could not open only the text says so: Caddy's error hides the one that it is about.
func timedOut(err error) bool {
	if dialing, ok := errors.AsType[reverseproxy.DialError](err); ok {
		return strings.HasSuffix(dialing.Error(), os.ErrDeadlineExceeded.Error())
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// cutOff is the result of an attempt whose context has ended.
func cutOff(ctx context.Context, cause error) relay.Result {
	if errors.Is(cause, context.DeadlineExceeded) {
		return relay.Result{Outcome: store.TimedOut, Err: errors.New("no complete answer within the timeout")}
	}
	return relay.Result{Outcome: store.Aborted, Err: context.Cause(ctx)}
}

// failed is the result of a chain that ended in an error. The errors with which
// a proxy speaks of its upstream mean that no answer came.
func failed(err error) relay.Result {
	handled, ok := errors.AsType[caddyhttp.HandlerError](err)
	if !ok {
		return relay.Result{Outcome: store.Unreachable, Err: err}
	}
	reason := handled.Err
	if reason == nil {
		reason = fmt.Errorf("a directive of the forward answered %d", handled.StatusCode)
	}
	switch handled.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return relay.Result{Outcome: store.Unreachable, Err: reason}
	default:
		return relay.Result{Outcome: store.Refused, Status: handled.StatusCode, Err: reason}
	}
}

// refused explains an answer that is not a 2xx to the operator, with the request
// line as it was sent. What the app has said may repeat the message, and stands
// only with the attempt, for those to whom it is revealed.
func refused(r *http.Request, rec *capture) error {
	if rec.status < 400 {
		where, _, _ := strings.Cut(printable(rec.header.Get("Location")), "?")
		if where != "" {
			where = " to " + where
		}
		return fmt.Errorf("app answered %d%s: redirects are failures (Rails force_ssl? forward X-Forwarded-Proto https)", rec.status, where)
	}
	return fmt.Errorf("app answered %d to %s %s with Host %s", rec.status, r.Method, r.URL.EscapedPath(), r.Host)
}

// printable makes foreign text safe for a line of log.
func printable(text string) string {
	text = strings.ToValidUTF8(text, "?")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text))
}

// retryAfter reads a Retry-After header: whole seconds or an HTTP date. Anything
// else asks for nothing.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if seconds, ok := digits(value); ok {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

// digits reads up to nine decimal digits.
func digits(s string) (n int64, ok bool) {
	if len(s) == 0 || len(s) > 9 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}
