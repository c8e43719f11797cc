// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// Respond is what a sender gets once its message is safe.
type Respond struct {
	// The status, a 2xx. Default: 200.
	Status int `json:"status,omitempty"`

	// The body, sent as it is written here. Default: empty.
	Body string `json:"body,omitempty"`
}

// check reports an answer that a sender would not take for an ack.
func (a *Respond) check() error {
	if a.Status != 0 && (a.Status < 200 || a.Status > 299) {
		return fmt.Errorf("respond: %d is no 2xx, so the sender would send again what is already safe", a.Status)
	}
	if a.Status == http.StatusNoContent && a.Body != "" {
		return fmt.Errorf("respond: a 204 has no body")
	}
	return nil
}

// contentType tells the type of the body.
func (a *Respond) contentType() string {
	if strings.HasPrefix(a.Body, "{") && json.Valid([]byte(a.Body)) {
		return "application/json"
	}
	return textPlain
}

// respond answers a message that is safe: as configured, else as its provider
// wants it, else with an empty 200.
func (h *Handler) respond(w http.ResponseWriter, s *scheme.Scheme) {
	status, contentType, body := http.StatusOK, textPlain, ""
	switch {
	case h.Respond != nil:
		body, contentType = h.Respond.Body, h.Respond.contentType()
		if h.Respond.Status != 0 {
			status = h.Respond.Status
		}
	case s != nil && s.Response != nil:
		body = s.Response.Body
		if s.Response.Status != 0 {
			status = s.Response.Status
		}
		if s.Response.ContentType != "" {
			contentType = s.Response.ContentType
		}
	}
	write(w, status, contentType, body)
}
