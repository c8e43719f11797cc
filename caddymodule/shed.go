// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// shedLast reports whether the sender of a scheme never sends again by itself: what
// it is refused is lost unless a person looks after it, so that it is refused when
// all others are.
func shedLast(s *scheme.Scheme) bool { return s != nil && !s.Retries() }

// shedsLast reports whether a request to this relay may be of such a sender. Which
// of several schemes it has is not known before its body is.
func (h *Handler) shedsLast() bool {
	return slices.ContainsFunc(h.bindings, func(b *binding) bool { return shedLast(b.scheme) })
}

// reserve begins to take memory for the body of a request.
func (h *Handler) reserve() *relay.Reservation {
	if h.last {
		return h.engine.Budget().ReserveLast(h.Name)
	}
	return h.engine.Budget().Reserve(h.Name)
}

// shed notes on a refusal which message is lost with it, where the sender does not
// send again.
func shed(refused *refusal, by *scheme.Scheme, message *store.Message) *refusal {
	if shedLast(by) {
		refused.unretried = message
	}
	return refused
}

// mourn tells the operator of a 503 that a sender will not answer with another
// request. One whose signature was right is told of each time, by its id, by which
// it can be asked for at the provider.
func (h *Handler) mourn(refused *refusal) {
	if refused.status != http.StatusServiceUnavailable || refused.unretried == nil && !h.last {
		return
	}
	metrics.unretried.WithLabelValues(h.Name, refused.reason).Inc()
	const text = "refused what its sender does not send again: have it redelivered there"
	if m := refused.unretried; m != nil {
		h.log.Error(text, zap.String("reason", refused.reason), zap.String("scheme", m.VerifiedBy),
			zap.String("event_id", m.EventID), zap.String("type", m.Type))
	} else if c := h.sampled.Check(zap.ErrorLevel, text); c != nil {
		c.Write(zap.String("reason", refused.reason), zap.String("source", h.Name))
	}
}
