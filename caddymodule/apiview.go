// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// messageView is a message as operators see it.
type messageView struct {
	ID         string         `json:"id"`
	Source     string         `json:"source"`
	Tenant     string         `json:"tenant,omitempty"`
	EventID    string         `json:"event_id,omitempty"`
	Type       string         `json:"type,omitempty"`
	VerifiedBy string         `json:"verified_by,omitempty"`
	ReceivedAt time.Time      `json:"received_at"`
	BodySHA256 string         `json:"body_sha256"`
	Request    *requestView   `json:"request,omitempty"`
	Deliveries []deliveryView `json:"deliveries,omitempty"`
}

// requestView is the request of a message. What may hold a secret or a part of
// the body is replaced unless admin_reveal is set.
type requestView struct {
	Method     string              `json:"method"`
	URI        string              `json:"uri"`
	Host       string              `json:"host"`
	ClientIP   string              `json:"client_ip,omitempty"`
	Header     map[string][]string `json:"header"`
	BodySize   int                 `json:"body_size"`
	Body       *string             `json:"body,omitempty"`
	BodyBase64 []byte              `json:"body_base64,omitempty"`
}

// deliveryView is a delivery as operators see it.
type deliveryView struct {
	ID          string        `json:"id"`
	Message     string        `json:"message"`
	Destination string        `json:"destination"`
	State       string        `json:"state"`
	DueAt       *time.Time    `json:"due_at,omitempty"`
	CreatedAt   time.Time     `json:"created_at"`
	EndedAt     *time.Time    `json:"ended_at,omitempty"`
	Attempts    uint32        `json:"attempts"`
	Generation  uint32        `json:"generation"`
	ReplayOf    uint32        `json:"replay_of,omitempty"`
	OrderKey    string        `json:"order_key,omitempty"`
	BodySize    int64         `json:"body_size"`
	LastStatus  int           `json:"last_status,omitempty"`
	LastError   string        `json:"last_error,omitempty"`
	Tried       []attemptView `json:"tried,omitempty"`
}

// attemptView is an attempt as operators see it.
type attemptView struct {
	Number     uint32    `json:"number"`
	StartedAt  time.Time `json:"started_at"`
	DurationMS float64   `json:"duration_ms"`
	Outcome    string    `json:"outcome"`
	Status     int       `json:"status,omitempty"`
	Error      string    `json:"error,omitempty"`
	Answer     string    `json:"answer,omitempty"`
	Superseded bool      `json:"superseded,omitempty"`
}

// harmless are the headers whose values are shown. Any other may be a signature,
// a token or a cookie: schemes may name whatever header they like.
var harmless = []string{
	"Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "Content-Encoding", "Content-Language", "Content-Type", "Date",
	"User-Agent",
}

// viewMessage shows a message without its request.
func viewMessage(m *store.Message) messageView {
	return messageView{
		ID: m.ID.String(), Source: m.Source, Tenant: m.Tenant, EventID: m.EventID, Type: m.Type, VerifiedBy: m.VerifiedBy,
		ReceivedAt: m.ReceivedAt.UTC(), BodySHA256: hex.EncodeToString(m.BodySum[:]),
	}
}

// viewRequest shows the request of a message, and what is secret in it only to
// whom it is revealed.
func viewRequest(r *store.Request, reveal bool) *requestView {
	v := &requestView{
		Method: r.Method, URI: r.URI, Host: r.Host, ClientIP: r.ClientIP,
		Header: make(map[string][]string, len(r.Header)), BodySize: len(r.Body),
	}
	for name, values := range r.Header {
		v.Header[name] = values
		if !reveal && !slices.Contains(harmless, http.CanonicalHeaderKey(name)) {
			v.Header[name] = []string{redacted}
		}
	}
	if !reveal {
		if path, _, ok := strings.Cut(r.URI, "?"); ok {
			v.URI = path + "?" + redacted
		}
		return v
	}
	if utf8.Valid(r.Body) {
		body := string(r.Body)
		v.Body = &body
	} else {
		v.BodyBase64 = r.Body
	}
	return v
}

// viewDelivery shows a delivery. Its order key may be a part of the body.
func viewDelivery(d *store.Delivery, reveal bool) deliveryView {
	v := deliveryView{
		ID: d.ID.String(), Message: d.ID.Message.String(), Destination: d.Destination, State: d.State.String(),
		DueAt: optional(d.DueAt), CreatedAt: d.CreatedAt.UTC(), EndedAt: optional(d.EndedAt),
		Attempts: d.Attempts, Generation: d.Generation, ReplayOf: d.ReplayOf, BodySize: d.BodySize,
		LastStatus: d.LastStatus, LastError: d.LastError,
	}
	if d.OrderKey != "" {
		v.OrderKey = redacted
		if reveal {
			v.OrderKey = d.OrderKey
		}
	}
	return v
}

// viewAttempts shows the attempts of a delivery. What the app has answered may
// repeat what it was sent.
func viewAttempts(attempts []store.Attempt, reveal bool) []attemptView {
	views := make([]attemptView, 0, len(attempts))
	for i := range attempts {
		a := &attempts[i]
		v := attemptView{
			Number: a.Number, StartedAt: a.StartedAt.UTC(), DurationMS: float64(a.Duration.Microseconds()) / 1000,
			Outcome: a.Outcome.String(), Status: a.Status, Error: a.Error, Superseded: a.Superseded,
		}
		if len(a.Head) > 0 {
			v.Answer = redacted
			if reveal {
				v.Answer = strings.ToValidUTF8(string(a.Head), "\uFFFD")
			}
		}
		views = append(views, v)
	}
	return views
}

// optional is a time that may be missing.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
