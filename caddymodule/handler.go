// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// ServeHTTP takes one request and answers it. It calls the next handler only
// where the relay is told to pass, and returns no error for what a sender can
// cause: the routes for errors of a site might turn a refusal into a 2xx.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.Context().Value(deliveryCtxKey) != nil {
		return caddyhttp.Error(http.StatusLoopDetected, errNested)
	}
	refused, err := h.take(w, r, next)
	if refused != nil {
		h.refuse(w, r, refused)
	}
	return err
}

// take does the work in the order that keeps strangers cheap: method and size by
// the headers, the body within its budget, the signature, and only then anything
// that is remembered.
func (h *Handler) take(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (*refusal, error) {
	if !slices.Contains(h.Methods, r.Method) {
		return &refusal{status: http.StatusMethodNotAllowed, reason: "method"}, nil
	}
	if slices.ContainsFunc(h.held, func(b *binding) bool { return b.absent }) {
		return &refusal{status: http.StatusServiceUnavailable, reason: "no_secret", detail: errSecretAbsent.Error}, nil
	}
	if refused := h.hopeless(r); refused != nil {
		return refused, nil
	}
	reservation := h.reserve()
	taken := false
	defer func() {
		// Also where a panic ends the request.
		if !taken {
			reservation.Release()
		}
	}()
	reader := newBodyReader(w, r, h.MaxSize, reservation)
	body, err := reader.read()
	if err != nil {
		return unreadable(err), nil
	}
	received := time.Now()
	ctx := h.deadlines.next(received)
	request := h.signedRequest(r, body)
	answered, asked, refused := h.handshake(ctx, w, request)
	if answered || refused != nil {
		return refused, nil
	}
	if !slices.Contains(h.eventMethods, r.Method) {
		return &refusal{status: http.StatusMethodNotAllowed, reason: "method"}, nil
	}
	chosen, refused := h.verify(request, asked)
	if refused != nil {
		return refused, nil
	}
	targets, wanted := h.targets(chosen.verdict.Type)
	if !wanted {
		h.filtered(w, chosen.scheme)
		return nil, nil
	}
	identity, refused := h.identify(request, chosen.verdict)
	if refused != nil {
		return refused, nil
	}
	in := relay.Inbound{Message: h.event(body, chosen.verdict, received), Identity: identity, Window: h.rule.window}
	if h.Pass {
		return h.pass(ctx, w, r, next, in, chosen.scheme)
	}
	h.order(targets, request, chosen.verdict)
	h.capture(r, in.Message)
	in.Redeliver, in.ShedLast = h.rule.redeliver(chosen.scheme), shedLast(chosen.scheme)
	in.Targets, in.Reservation = targets, reservation
	taken = true
	return h.accept(ctx, w, r, in, chosen.scheme), nil
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

// duplicate tells of a duplicate.
func (h *Handler) duplicate(receipt relay.Receipt) {
	if c := h.sampled.Check(zap.InfoLevel, "duplicate"); c != nil {
		c.Write(zap.String("source", h.Name), zap.Stringer("verdict", receipt.Verdict),
			zap.Stringer("original", receipt.ID), zap.Time("accepted_at", receipt.AcceptedAt))
	}
}

// targets returns the destinations that take an event type, and whether the relay
// wants the event at all.
func (h *Handler) targets(eventType string) (targets []relay.Target, wanted bool) {
	if !patterns(h.Events).match(eventType) {
		return nil, false
	}
	targets = make([]relay.Target, 0, len(h.destinations))
	for _, d := range h.destinations {
		if patterns(d.Events).match(eventType) {
			targets = append(targets, relay.Target{Destination: d.id})
		}
	}
	return targets, h.Pass || len(targets) > 0
}

// maxIdentifier bounds what is kept of an event id and type, in bytes. The
// identity of an event is made from all of it.
const maxIdentifier = 256

// event is what a request says, without the request.
func (h *Handler) event(body []byte, verdict scheme.Verdict, received time.Time) *store.Message {
	return &store.Message{
		Source:     h.Name,
		EventID:    shortened(verdict.EventID),
		Type:       shortened(verdict.Type),
		VerifiedBy: verdict.Scheme,
		ReceivedAt: received.UTC().Truncate(time.Microsecond),
		Request:    store.Request{Body: body},
	}
}

// capture adds what is kept of a request beside its body.
func (h *Handler) capture(r *http.Request, m *store.Message) {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	clientIP, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	uri, sent := rooted(r.URL.RequestURI()), sentURI(r)
	if sent == uri {
		sent = ""
	}
	m.Request = store.Request{
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
		Body:         m.Request.Body,
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
