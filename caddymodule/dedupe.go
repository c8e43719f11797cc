// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// defaultWindow is how long an identity is remembered.
const defaultWindow = 7 * 24 * time.Hour

// bodyKey is the key that stands for the hash of the body.
const bodyKey = "body"

// What a relay does with a duplicate of a message that has been delivered.
const (
	dropDuplicate    = "drop"
	deliverDuplicate = "deliver"
)

// Dedupe says what makes two requests the same event.
type Dedupe struct {
	// Whether duplicates are not looked for at all. Default: false.
	Off bool `json:"off,omitempty"`

	// Templates that make the identity together; `body` stands for the hash of the
	// body. Where a key is not covered by a signature, the hash of the body joins
	// it. Default: what the scheme says.
	Keys []string `json:"keys,omitempty"`

	// How long an identity is remembered. Default: 168h.
	Window caddy.Duration `json:"window,omitempty"`

	// What becomes of a duplicate of a delivered message: `drop` or `deliver`.
	// Default: drop, but deliver where the sender never sends again by itself.
	OnDuplicate string `json:"on_duplicate,omitempty"`

	// Whether a request without an identity is refused. Default: it is accepted
	// and not deduped.
	Required bool `json:"required,omitempty"`
}

// check reports a rule that contradicts itself.
func (d *Dedupe) check() error {
	if d.Off && (len(d.Keys) > 0 || d.Window != 0 || d.OnDuplicate != "" || d.Required) {
		return fmt.Errorf("dedupe: off excludes everything else")
	}
	if d.Window < 0 {
		return fmt.Errorf("dedupe: the window must be positive")
	}
	switch d.OnDuplicate {
	case "", dropDuplicate, deliverDuplicate:
		return nil
	default:
		return fmt.Errorf("dedupe: on_duplicate is drop or deliver, not '%s'", d.OnDuplicate)
	}
}

// rule is a Dedupe that is ready for use. The zero value follows the scheme.
type rule struct {
	off       bool
	required  bool
	window    time.Duration
	redeliver func(*scheme.Scheme) bool

	// own is the identity that is not the scheme's business: of a relay that
	// verifies nothing, or the body alone.
	own *scheme.Identity

	// adjust makes a scheme follow the configured keys.
	adjust func(*scheme.Scheme)
}

// newRule compiles the rule of a relay. verified says that it has schemes.
func newRule(d *Dedupe, verified bool) (rule, error) {
	if d == nil {
		d = &Dedupe{Off: !verified}
	}
	if err := d.check(); err != nil {
		return rule{}, err
	}
	if !d.Off && len(d.Keys) == 0 && !verified {
		return rule{}, errNoRule
	}
	r := rule{
		off:       d.Off,
		required:  d.Required,
		window:    defaultWindow,
		redeliver: redeliverRule(d.OnDuplicate),
	}
	if d.Window != 0 {
		r.window = time.Duration(d.Window)
	}
	keys, withBody := splitKeys(d.Keys)
	identity, err := scheme.NewIdentity(keys...)
	if err != nil {
		return rule{}, fmt.Errorf("dedupe: %w", err)
	}
	switch {
	case len(d.Keys) == 0:
	case !verified || len(keys) == 0:
		r.own = identity
	default:
		r.adjust = func(s *scheme.Scheme) {
			s.Identity, s.IdentityAlone, s.IdentityBody = keys, false, withBody
		}
	}
	return r, nil
}

// splitKeys takes the body out of a list of keys.
func splitKeys(list []string) (keys []string, withBody bool) {
	for _, key := range list {
		if key == bodyKey {
			withBody = true
			continue
		}
		keys = append(keys, key)
	}
	return keys, withBody
}

// redeliverRule says for which senders a duplicate of a delivered message goes
// out again. One that never sends again by itself repeats only because a person
// wants it.
func redeliverRule(onDuplicate string) func(*scheme.Scheme) bool {
	switch onDuplicate {
	case dropDuplicate:
		return func(*scheme.Scheme) bool { return false }
	case deliverDuplicate:
		return func(*scheme.Scheme) bool { return true }
	default:
		return func(s *scheme.Scheme) bool { return s != nil && !s.Retries() }
	}
}

// identity returns the parts of a request's identity, nil for none.
func (r *rule) identity(request *scheme.Request, verdict scheme.Verdict, source string) [][]byte {
	switch {
	case r.off:
		return nil
	case r.own != nil:
		return r.own.Parts(request, scheme.Fields{EventID: verdict.EventID, Type: verdict.Type, Source: source})
	default:
		return verdict.Identity
	}
}
