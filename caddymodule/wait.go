// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// maxAnswer bounds the body of an app's answer that is passed on to a sender, and
// maxAnswerHeader its headers, in bytes.
const (
	maxAnswer       = 1 << 20
	maxAnswerHeader = 64 << 10
)

// checkWait reports a wait that can not be kept.
func (h *Handler) checkWait() error {
	switch {
	case h.Wait < 0:
		return fmt.Errorf("wait must be positive")
	case h.Wait > 0 && len(h.Destinations) > 1:
		return fmt.Errorf("wait: a sender can wait for the answer of one destination, and this relay has %d", len(h.Destinations))
	}
	return nil
}

// accept makes a message durable and answers its sender: with what the app says
// in the time of wait, else with the configured answer.
func (h *Handler) accept(ctx context.Context, w http.ResponseWriter, r *http.Request, in relay.Inbound, s *scheme.Scheme) *refusal {
	if h.Wait > 0 {
		in.Waiter = relay.NewWaiter(h.engine.Budget().Reserve(h.Name), maxAnswerHeader, maxAnswer)
		defer in.Waiter.Leave()
	}
	// Found now, while the way to it is in the caches of the processor: once the
	// commit is done it is not any more.
	repl := replacerOf(r)
	receipt, err := h.engine.Accept(ctx, in)
	if err != nil {
		return shed(unaccepted(err), s, in.Message)
	}
	makeKnown(repl, in.Message, receipt.ID)
	if receipt.Verdict != store.Fresh {
		h.duplicate(receipt)
	} else if h.Wait > 0 {
		waiting, cancel := context.WithTimeout(r.Context(), time.Duration(h.Wait))
		defer cancel()
		if answer := in.Waiter.Wait(waiting); answer != nil {
			passOn(w, r, answer)
			return nil
		}
	}
	h.respond(w, s)
	return nil
}

// answered reports whether a header of an app's answer, of which named are for
// its connection only, may go on to the sender.
func answered(name string, values, named []string) bool {
	if name == "Content-Length" {
		return true
	}
	return endToEnd(name, true) && !slices.Contains(named, name) && validField(name, values)
}

// passOn answers with what the app has answered.
func passOn(w http.ResponseWriter, r *http.Request, answer *relay.Answer) {
	header := w.Header()
	if len(answer.Header["Server"]) > 0 {
		header.Del("Server") // as Caddy's proxy does
	}
	for name, values := range answer.Header {
		if name != "Content-Length" {
			header[name] = append(header[name], values...)
		}
	}
	bodiless := answer.Status == http.StatusNoContent
	switch length := answer.Header["Content-Length"]; {
	case bodiless:
	case r.Method == http.MethodHead && len(answer.Body) == 0 && len(length) == 1:
		header["Content-Length"] = length
	default:
		header["Content-Length"] = []string{strconv.Itoa(len(answer.Body))}
	}
	w.WriteHeader(answer.Status)
	if len(answer.Body) > 0 && !bodiless {
		// Whoever does not take the answer has been told nothing, and sends again.
		_, _ = w.Write(answer.Body)
	}
}
