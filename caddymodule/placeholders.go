// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"strings"
	"time"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// placeholderPrefix begins all of our placeholders.
const placeholderPrefix = "http.relay."

// facts answers {http.relay.*}. It evaluates what is asked for and nothing else,
// and never expands what a sender sent.
type facts struct {
	message     *store.Message
	id          store.MessageID // may differ from that in message: a duplicate has its original's
	destination string
	attempt     uint32
}

// messageFacts are the facts that are known when a message has been accepted.
func messageFacts(m *store.Message, id store.MessageID) facts {
	return facts{message: m, id: id}
}

// attemptFacts are the facts that are known in a forward.
func attemptFacts(a relay.Attempt, destination string) facts {
	return facts{message: a.Message, id: a.Message.ID, destination: destination, attempt: a.Number}
}

// get implements caddy.ReplacerFunc.
func (f facts) get(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, placeholderPrefix)
	if !ok {
		return nil, false
	}
	if path, ok := strings.CutPrefix(name, "body."); ok {
		value, _ := scheme.BodyPath(f.message.Request.Body, path)
		return value, true
	}
	m := f.message
	switch name {
	case "id":
		return f.id.String(), true
	case "source":
		return m.Source, true
	case "event_id":
		return m.EventID, true
	case "type":
		return m.Type, true
	case "received_at":
		return m.ReceivedAt.Format(time.RFC3339Nano), true
	case "verified_by":
		return m.VerifiedBy, true
	case "tenant":
		return m.Tenant, true
	case "destination":
		return f.destination, f.destination != ""
	case "attempt":
		return int(f.attempt), f.attempt != 0
	}
	return nil, false
}
