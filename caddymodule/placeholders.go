// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

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

// makeKnown makes the facts of a message known to what runs after us, under the id
// that it has got.
func makeKnown(repl *caddy.Replacer, m *store.Message, id store.MessageID) {
	if repl != nil {
		repl.Map(facts{message: m, id: id}.get)
	}
}

// replacerOf returns what evaluates the placeholders of a request, nil where
// nothing does.
func replacerOf(r *http.Request) *caddy.Replacer {
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	return repl
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
