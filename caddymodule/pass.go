// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// errUnanswered is why a request that was handed on got no 2xx although nothing
// failed: Caddy would have answered it with an empty 200.
var errUnanswered = errors.New("nothing behind pass answers this request: end the site with reverse_proxy or another directive that does")

// passOptions are the options of a relay that have a meaning beside pass.
var passOptions = []string{
	"name", "origin", "methods", "verify", "dedupe", "events", "max_size", "public_url",
	"respond", "reject_status", "drop_header", "pass",
}

// checkPass reports what has no meaning beside pass. upstreams are those that were
// given as arguments.
func (h *Handler) checkPass(upstreams []string) error {
	if !h.Pass {
		return nil
	}
	given, err := h.given()
	if err != nil {
		return err
	}
	given = slices.DeleteFunc(given, func(option string) bool {
		return slices.Contains(passOptions, option) || option == "forward" && len(upstreams) > 0
	})
	if len(upstreams) > 0 {
		given = append(given, "the upstream "+strings.Join(upstreams, " "))
	}
	switch {
	case len(given) > 0:
		return fmt.Errorf("pass hands the request on to the next handler of the site, and the relay delivers nothing: take out %s", strings.Join(given, ", "))
	case h.Dedupe != nil && h.Dedupe.OnDuplicate == deliverDuplicate:
		return errors.New("pass never hands on what the app has answered with a 2xx before: take out on_duplicate deliver")
	case len(h.VerifyRaw) == 0 && (h.Dedupe == nil || h.Dedupe.Off):
		return errors.New("pass does nothing by itself: give the relay verify, dedupe or both")
	}
	return nil
}

// given lists the options that are set, by their names.
func (h *Handler) given() ([]string, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	if list, ok := fields["destinations"]; ok { // each is one destination
		delete(fields, "destinations")
		fields["destination"] = list
	}
	return slices.Sorted(maps.Keys(fields)), nil
}

// pass hands a request on to the next handler, unless it is a duplicate of one
// that has got its 2xx. The 2xx goes out when it is certain that no other will.
func (h *Handler) pass(ctx context.Context, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, in relay.Inbound, s *scheme.Scheme) (*refusal, error) {
	m := in.Message
	p, receipt, err := h.engine.Pass(ctx, m, in.Identity, in.Window)
	if err != nil {
		return unaccepted(err), nil
	}
	if p == nil {
		h.duplicate(receipt)
		h.respond(w, s)
		return nil, nil
	}
	defer p.Drop()
	h.handOn(r, m)
	makeKnown(replacerOf(r), m, m.ID)
	pw := newPassWriter(w, r, p, func(err error) { h.refuse(w, r, unaccepted(err)) })
	err = next.ServeHTTP(pw, r)
	return nil, h.passed(w, r, pw, err)
}

// passed takes in how the next handler has ended. An error that comes before any
// answer is answered here: the routes for errors of the site might turn it into a
// 2xx, for a webhook that the app has not taken.
func (h *Handler) passed(w http.ResponseWriter, r *http.Request, pw *passWriter, err error) error {
	switch {
	case pw.refused:
		return nil
	case pw.status != 0:
		outcome := "passed"
		if pw.status > 299 {
			outcome = "not_passed"
		}
		metrics.request(h.Name, outcome)
		return err
	case err == nil:
		err = caddyhttp.HandlerError{StatusCode: http.StatusServiceUnavailable, Err: errUnanswered}
	}
	h.failed(w, r, err)
	return nil
}

// failed answers a request whose next handler ended with an error.
func (h *Handler) failed(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	if handled, ok := errors.AsType[caddyhttp.HandlerError](err); ok && handled.StatusCode >= 400 {
		status = handled.StatusCode
	}
	metrics.request(h.Name, "not_passed")
	if c := h.sampled.Check(zap.ErrorLevel, "the handler behind pass failed"); c != nil {
		c.Write(zap.Int("status", status), zap.String("source", h.Name), zap.String("remote_ip", remoteIP(r)), zap.Error(err))
	}
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", h.retryAfter("not_passed"))
	}
	write(w, status, textPlain, http.StatusText(status))
}

// handOn makes the request what the next handler is to get: its body as it came,
// and our headers in the place of any that the sender has made up.
func (h *Handler) handOn(r *http.Request, m *store.Message) {
	body := m.Request.Body
	r.Body, r.ContentLength = http.NoBody, int64(len(body))
	r.TransferEncoding, r.Trailer = nil, nil
	if len(body) > 0 {
		r.Body = newBody(body)
	}
	// What the sender calls hop-by-hop a proxy behind us would take out.
	if named := connectionNamed(r.Header); slices.ContainsFunc(named, ours) {
		r.Header.Del("Connection")
	}
	for name := range r.Header {
		if canonical := http.CanonicalHeaderKey(name); strings.HasPrefix(canonical, ownPrefix) || slices.Contains(h.DropHeader, canonical) {
			delete(r.Header, name)
		}
	}
	if len(body) > 0 || r.Header.Get("Content-Length") != "" {
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	setOwnFields(r.Header, relay.Attempt{Message: m, Number: 1})
}

// ours reports whether we set a header of that name.
func ours(name string) bool {
	return strings.HasPrefix(name, ownPrefix) || name == "Idempotency-Key"
}
