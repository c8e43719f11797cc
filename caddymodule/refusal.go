// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// refusal is why a request was not accepted. The sender learns the status and
// nothing else.
type refusal struct {
	// status is what the sender gets.
	status int

	// reason is one word for metrics and logs.
	reason string

	// detail tells the operator more. It is asked only where it is logged, and
	// while the body is still there.
	detail func() string

	// hangUp says that the rest of the body is not worth waiting for.
	hangUp bool

	// unread says that nothing is wrong with the rest of the body. A small one is
	// taken off its connection, rather than have the sender make another.
	unread bool

	// unretried is what is lost with it, where that is known to be of a sender that
	// does not send again.
	unretried *store.Message
}

// unreadable is the refusal of a request whose body was not read whole.
func unreadable(err error) *refusal {
	switch {
	case errors.Is(err, errTooLarge):
		return &refusal{status: http.StatusRequestEntityTooLarge, reason: "too_large", hangUp: true, unread: true}
	case errors.Is(err, errNoMemory):
		return &refusal{status: http.StatusServiceUnavailable, reason: "memory", hangUp: true, unread: true}
	default:
		return &refusal{status: http.StatusServiceUnavailable, reason: "body", detail: err.Error, hangUp: true}
	}
}

// unaccepted is the refusal of a message that was not made durable: always our
// own trouble.
func unaccepted(err error) *refusal {
	reason := "store"
	switch {
	case errors.Is(err, relay.ErrDeadline):
		reason = "deadline"
	case errors.Is(err, relay.ErrOverloaded):
		reason = "overloaded"
	case errors.Is(err, relay.ErrDiskFull):
		reason = "disk_full"
	case errors.Is(err, relay.ErrBacklog):
		reason = "backlog"
	case errors.Is(err, relay.ErrNotReady), errors.Is(err, relay.ErrClosed):
		reason = "not_ready"
	}
	return &refusal{status: http.StatusServiceUnavailable, reason: reason, detail: err.Error}
}

// hopeless is the refusal of an event that would not be accepted whatever is in
// it, which is then neither looked at nor verified. What comes to a relay whose
// senders may not send again is: the operator is told what was lost. So is a large
// body: a sender whose connection is closed while it sends may never see the 503.
func (h *Handler) hopeless(r *http.Request) *refusal {
	if h.Pass || h.last || r.ContentLength < 0 || r.ContentLength > skipSize || !slices.Contains(h.eventMethods, r.Method) {
		return nil
	}
	err := h.engine.Refuses(h.Name, false)
	if err == nil {
		return nil
	}
	refused := unaccepted(err)
	refused.hangUp, refused.unread = true, true
	return refused
}

// unverified is the refusal of a request that no scheme verifies, by the failure
// that came nearest and its scheme.
func (h *Handler) unverified(f *scheme.Failure, by *scheme.Scheme) *refusal {
	status := f.Status()
	if status == http.StatusUnauthorized {
		status = cmp.Or(h.RejectStatus, by.RejectStatus, status)
	}
	return &refusal{status: status, reason: f.Label(), detail: f.Detail}
}

// nearness ranks how much of a verification succeeded. A key service that could
// not be asked comes first: the same bytes may be good later.
func nearness(f *scheme.Failure) int {
	switch {
	case errors.Is(f, scheme.ErrUnavailable):
		return 4
	case errors.Is(f, scheme.ErrStale):
		return 3
	case errors.Is(f, scheme.ErrMismatch):
		return 2
	case errors.Is(f, scheme.ErrMalformed):
		return 1
	default:
		return 0
	}
}

// pause is how long a sender is asked to stay away: at least some seconds, and a
// random part of some more, so that those who were refused together do not come
// back together.
type pause struct{ least, spread int }

var (
	// shortPause is for what passes by itself, such as a burst.
	shortPause = pause{1, 9}

	// longPause is for what takes its time, or a person: a store that has failed and
	// is opened again, a secret that is not there, a clock.
	longPause = pause{15, 45}
)

// pauseOf returns how long a sender should stay away that was refused for a reason.
func pauseOf(reason string) pause {
	switch reason {
	case "store", "not_ready", "backlog", "no_secret", "unavailable", "clock_suspect":
		return longPause
	default:
		return shortPause
	}
}

// retryAfter returns how long a sender should stay away that was refused for a
// reason, in seconds.
func (h *Handler) retryAfter(reason string) string {
	p := pauseOf(reason)
	return strconv.Itoa(p.least + h.random(p.spread+1))
}

// refuse writes the answer whole and tells the operator why, in one line.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, refused *refusal) {
	metrics.request(h.Name, refused.reason)
	metrics.rejected.WithLabelValues(h.Name, refused.reason).Inc()
	level := zap.WarnLevel
	if refused.status == http.StatusMethodNotAllowed {
		level = zap.InfoLevel // browsers and scanners, never a webhook
	}
	if c := h.sampled.Check(level, "refused: "+refused.reason); c != nil {
		fields := []zap.Field{zap.Int("status", refused.status), zap.String("source", h.Name), zap.String("remote_ip", remoteIP(r))}
		if refused.detail != nil {
			fields = append(fields, zap.String("detail", refused.detail()))
		}
		c.Write(fields...)
	}
	header := w.Header()
	switch refused.status {
	case http.StatusMethodNotAllowed:
		header.Set("Allow", strings.Join(h.Methods, ", "))
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", h.retryAfter(refused.reason))
		h.mourn(refused)
	}
	if refused.hangUp && r.ProtoMajor == 1 && (!refused.unread || !skip(w, r)) {
		header.Set("Connection", "close")
	}
	write(w, refused.status, textPlain, http.StatusText(refused.status))
}

// textPlain is the type of everything that the relay writes by itself.
const textPlain = "text/plain; charset=utf-8"

// write writes a short answer whole. The server says by itself that one without a
// body is empty, and for less than a header of ours costs.
func write(w http.ResponseWriter, status int, contentType, body string) {
	if body == "" {
		w.WriteHeader(status)
		return
	}
	header := w.Header()
	// Keeps the body from being taken for anything but what it is.
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Type", contentType)
	if status != http.StatusNoContent {
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	// Whoever does not take the answer will send again.
	_, _ = w.Write([]byte(body))
}
