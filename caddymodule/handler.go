// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// acceptTime is how long a sender waits for its answer after the last byte of
// its body, at most.
const acceptTime = 2500 * time.Millisecond

// ServeHTTP takes one request and answers it. It never calls the next handler,
// and returns no error for what a sender can cause: the routes for errors of a
// site might turn a refusal into a 2xx.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Context().Value(deliveryCtxKey) != nil {
		return caddyhttp.Error(http.StatusLoopDetected, errNested)
	}
	if refused := h.take(w, r); refused != nil {
		h.refuse(w, r, refused)
	}
	return nil
}

// take does the work in the order that keeps strangers cheap: method and size by
// the headers, the body within its budget, the signature, and only then anything
// that is remembered.
func (h *Handler) take(w http.ResponseWriter, r *http.Request) *refusal {
	if !slices.Contains(h.Methods, r.Method) {
		return &refusal{status: http.StatusMethodNotAllowed, reason: "method"}
	}
	if slices.ContainsFunc(h.held, func(b *binding) bool { return b.absent }) {
		return &refusal{status: http.StatusServiceUnavailable, reason: "no_secret", detail: errSecretAbsent.Error}
	}
	reservation := h.engine.Budget().Reserve(h.Name)
	taken := false
	defer func() {
		// Also where a panic ends the request.
		if !taken {
			reservation.Release()
		}
	}()
	body, err := newBodyReader(w, r, h.MaxSize, reservation).read()
	if err != nil {
		return unreadable(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), acceptTime)
	defer cancel()
	request := h.signedRequest(r, body)
	answered, asked, refused := h.handshake(ctx, w, request)
	if answered || refused != nil {
		return refused
	}
	if !slices.Contains(h.eventMethods, r.Method) {
		return &refusal{status: http.StatusMethodNotAllowed, reason: "method"}
	}
	chosen, refused := h.verify(request, asked)
	if refused != nil {
		return refused
	}
	targets := h.targets(chosen.verdict.Type)
	if len(targets) == 0 {
		h.filtered(w, chosen.scheme)
		return nil
	}
	identity, refused := h.identify(request, chosen.verdict)
	if refused != nil {
		return refused
	}
	message := h.message(r, body, chosen.verdict)
	// The message and its memory belong to the engine from the call on.
	known := *message
	taken = true
	receipt, err := h.engine.Accept(ctx, relay.Inbound{
		Message:     message,
		Identity:    identity,
		Window:      h.rule.window,
		Redeliver:   h.rule.redeliver(chosen.scheme),
		Targets:     targets,
		Reservation: reservation,
	})
	if err != nil {
		return unaccepted(err)
	}
	h.accepted(r, &known, receipt)
	h.respond(w, chosen.scheme)
	return nil
}

// filtered answers a message that no destination wants.
func (h *Handler) filtered(w http.ResponseWriter, s *scheme.Scheme) {
	metrics.request(h.Name, "filtered")
	h.respond(w, s)
}

// identify returns what makes the request the same event as another one.
func (h *Handler) identify(request *scheme.Request, verdict scheme.Verdict) ([][]byte, *refusal) {
	identity := h.rule.identity(request, verdict, h.Name)
	if identity != nil || h.rule.off {
		return identity, nil
	}
	if h.rule.required {
		return nil, &refusal{status: http.StatusBadRequest, reason: "no_identity", detail: func() string { return "the request lacks what dedupe asks for" }}
	}
	metrics.undeduped.WithLabelValues(h.Name).Inc()
	return nil, nil
}

// accepted makes the facts of a message known to what runs after us, and tells
// of a duplicate.
func (h *Handler) accepted(r *http.Request, message *store.Message, receipt relay.Receipt) {
	message.ID = receipt.ID
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(messageFacts(message).get)
	}
	if receipt.Verdict == store.Fresh {
		return
	}
	if c := h.sampled.Check(zap.InfoLevel, "duplicate"); c != nil {
		c.Write(zap.String("source", h.Name), zap.Stringer("verdict", receipt.Verdict),
			zap.Stringer("original", receipt.ID), zap.Time("accepted_at", receipt.AcceptedAt))
	}
}

// targets returns the destinations that take an event type.
func (h *Handler) targets(eventType string) []relay.Target {
	if !patterns(h.Events).match(eventType) {
		return nil
	}
	targets := make([]relay.Target, 0, len(h.destinations))
	for _, d := range h.destinations {
		if patterns(d.Events).match(eventType) {
			targets = append(targets, relay.Target{Destination: d.id})
		}
	}
	return targets
}

// maxIdentifier bounds what is kept of an event id and type, in bytes. The
// identity of an event is made from all of it.
const maxIdentifier = 256

// message is what is kept of a request.
func (h *Handler) message(r *http.Request, body []byte, verdict scheme.Verdict) *store.Message {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	clientIP, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	uri, sent := rooted(r.URL.RequestURI()), sentURI(r)
	if sent == uri {
		sent = ""
	}
	return &store.Message{
		Source:     h.Name,
		EventID:    shortened(verdict.EventID),
		Type:       shortened(verdict.Type),
		VerifiedBy: verdict.Scheme,
		ReceivedAt: time.Now().UTC().Truncate(time.Microsecond),
		Request: store.Request{
			Method:       r.Method,
			URI:          uri,
			SentURI:      sent,
			Host:         r.Host,
			RemoteAddr:   r.RemoteAddr,
			LocalAddr:    localAddrOf(r),
			ClientIP:     clientIP,
			TrustedProxy: trusted,
			TLS:          r.TLS != nil,
			Header:       captureHeader(r.Header, trusted, h.DropHeader, 0),
			Body:         body,
		},
	}
}

// rooted makes the URI of a rewrite that forgot the slash one that can be sent.
func rooted(uri string) string {
	if strings.HasPrefix(uri, "/") {
		return uri
	}
	return "/" + uri
}

// shortened cuts an identifier to what is kept of it.
func shortened(s string) string {
	if len(s) <= maxIdentifier {
		return s
	}
	return strings.ToValidUTF8(s[:maxIdentifier], "")
}
