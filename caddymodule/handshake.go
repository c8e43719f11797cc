// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"context"
	"maps"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// handshake answers a question that a provider asks before it sends events.
// Nothing of it is stored but a secret that is expected. asked are the schemes
// that have taken the request for a question and refused it, while others have
// not: for them it may be an event.
func (h *Handler) handshake(ctx context.Context, w http.ResponseWriter, request *scheme.Request) (answered bool, asked []*binding, refused *refusal) {
	var nearest *scheme.Failure
	for _, b := range h.bindings {
		if len(b.scheme.Handshakes) == 0 {
			continue
		}
		if err := b.prepare(ctx); err != nil {
			return false, nil, unaccepted(err)
		}
		answer, err := b.verifier().Handshake(request, h.now())
		switch {
		case err != nil:
			asked = append(asked, b)
			if f := asFailure(err); nearest == nil || nearness(f) > nearness(nearest) {
				nearest, refused = f, h.unanswered(f, b.scheme, answer)
			}
			continue
		case answer == nil:
			continue
		}
		if answer.Learned != nil {
			known, err := b.learn(ctx, answer.Learned)
			if err != nil {
				return false, nil, unaccepted(err)
			}
			if !known {
				continue // nothing is expected any more: a stranger
			}
		}
		h.answer(w, request, answer, b)
		return true, nil, nil
	}
	if refused != nil && len(asked) == len(h.bindings) {
		return false, nil, refused
	}
	return false, asked, nil
}

// unanswered is the refusal of a handshake.
func (h *Handler) unanswered(f *scheme.Failure, by *scheme.Scheme, answer *scheme.Answer) *refusal {
	status := answer.Status
	if status == http.StatusUnauthorized {
		status = cmp.Or(h.RejectStatus, by.RejectStatus, status)
	}
	return &refusal{status: status, reason: f.Label(), detail: f.Detail}
}

// answer writes the answer to a handshake, and goes where it asks to be visited.
func (h *Handler) answer(w http.ResponseWriter, request *scheme.Request, answer *scheme.Answer, b *binding) {
	metrics.request(h.Name, "handshake")
	log := h.log.With(zap.String("scheme", b.scheme.Name))
	if c := h.sampled.Check(zap.InfoLevel, "handshake answered"); c != nil {
		c.Write(zap.String("source", h.Name), zap.String("scheme", b.scheme.Name), zap.Int("status", answer.Status))
	}
	if answer.Learned != nil {
		log.Info("a handshake has brought a secret, which is kept in the store")
	}
	maps.Copy(w.Header(), answer.Header)
	body := string(answer.Body)
	if request.Method == http.MethodHead {
		body = ""
	}
	write(w, answer.Status, answer.Header.Get("Content-Type"), body)
	if answer.Visit != "" {
		h.fetcher.visit(answer.Visit, log)
	}
}
