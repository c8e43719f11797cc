// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// SchemeModule is what a guest of the namespace relay.schemes implements.
type SchemeModule interface {
	// Describe returns how the sender signs. It is called after provisioning, and
	// what it returns belongs to the caller.
	Describe() (*scheme.Scheme, error)

	// Credentials returns what the scheme is bound to. A guest has this method by
	// embedding Secrets.
	Credentials() *Secrets
}

// defaultOverlap is how long the former content of a changed file still verifies:
// senders let the former secret live for about as long.
const defaultOverlap = 24 * time.Hour

// defaultExpected is the name of a secret that is expected under none.
const defaultExpected = "default"

// Secrets is what all schemes have.
type Secrets struct {
	// The secrets, any of which may verify a request: several make a rotation.
	// `{env.NAME}` is read when Caddy starts; `{file./absolute/path}` when the
	// configuration is loaded, and again whenever the file changes. A secret written
	// out here is visible to all who can read the configuration.
	Texts []string `json:"secrets,omitempty"`

	// The verify token that is typed at the provider and comes back in its
	// handshake, written as a secret is. Default: none.
	Token string `json:"token,omitempty"`

	// Keys or certificates in PEM that take the place of those that are fetched from
	// the provider, written as secrets are. Default: they are fetched.
	Keys []string `json:"keys,omitempty"`

	// How far from now the time of signing may be. Default: what the scheme says.
	Tolerance caddy.Duration `json:"tolerance,omitempty"`

	// Names of secrets that handshakes are to bring. Each takes one secret, from the
	// first handshake that comes, and keeps it in the store; another name expects
	// another secret. Default: none is expected.
	Expected []string `json:"expect_secret,omitempty"`

	// How long the former content of a changed file still verifies; -1 means not at
	// all. Default: 24h.
	Overlap caddy.Duration `json:"overlap,omitempty"`

	// Where this was configured, for messages. Default: unknown.
	Origin string `json:"origin,omitempty"`
}

// Credentials returns s.
func (s *Secrets) Credentials() *Secrets { return s }

// check reports what is configured and does not go with a scheme.
func (s *Secrets) check(described *scheme.Scheme) error {
	if len(s.Texts) == 0 && len(s.Expected) == 0 {
		if !described.Keyless() {
			return errNoSecret
		}
		if described.KeyService.URL == "" {
			return fmt.Errorf("its keys are at an address of your own: say key_service <url>, as in key_service https://example.kinde.com/.well-known/jwks")
		}
	}
	if len(s.Expected) > 0 && !described.Learns() {
		return fmt.Errorf("expect_secret: no handshake of this scheme brings a secret")
	}
	if s.Token != "" && !described.NeedsToken() {
		return fmt.Errorf("token: no handshake of this scheme has a verify token")
	}
	if len(s.Keys) > 0 && described.KeyService != nil {
		return fmt.Errorf("keys: a key of this scheme is pinned as its secret")
	}
	if len(s.Keys) > 0 && described.KeyURL == nil {
		return fmt.Errorf("keys: this scheme fetches no keys; its keys are its secrets")
	}
	if s.Tolerance < 0 || s.Tolerance > 0 && described.Timestamp == nil && (described.JWT == nil || described.JWT.MaxAge == 0) {
		return fmt.Errorf("tolerance: this scheme signs no time, or the tolerance is negative")
	}
	for i, name := range s.Expected {
		if err := checkName(name); err != nil {
			return fmt.Errorf("expect_secret: %w", err)
		}
		if slices.Contains(s.Expected[:i], name) {
			return fmt.Errorf("expect_secret: '%s' is there twice", name)
		}
	}
	return nil
}

// overlap is how long the former content of a file verifies.
func (s *Secrets) overlap() time.Duration {
	switch {
	case s.Overlap < 0:
		return 0
	case s.Overlap == 0:
		return defaultOverlap
	default:
		return time.Duration(s.Overlap)
	}
}

// tolerate sets the configured tolerance, and returns how old a signature may be
// when an app checks it again: its library knows nothing of ours. It is 0 where
// the sender signs no time or its libraries do not look at it.
func (s *Secrets) tolerate(described *scheme.Scheme) (fresh time.Duration) {
	if t := described.Timestamp; t != nil && t.Tolerance >= 0 {
		fresh = cmp.Or(time.Duration(t.Tolerance), scheme.DefaultTolerance)
	}
	if s.Tolerance <= 0 {
		return fresh
	}
	forms := []*scheme.Proof{&described.Proof}
	for i := range described.Also {
		forms = append(forms, &described.Also[i])
	}
	for _, form := range forms {
		if form.Timestamp != nil {
			form.Timestamp.Tolerance = scheme.Duration(s.Tolerance)
		}
		if form.JWT != nil && form.JWT.MaxAge > 0 {
			form.JWT.MaxAge = scheme.Duration(s.Tolerance)
		}
	}
	return min(fresh, time.Duration(s.Tolerance))
}

// at writes an origin at the end of an error as Caddy writes it.
func at(origin string) string {
	if origin == "" {
		return ""
	}
	return ", at " + origin
}

// PresetScheme verifies requests of a provider whose way of signing is known.
type PresetScheme struct {
	Secrets

	// Where the provider's keys are asked for, if that differs from customer to
	// customer (Kinde), or for a provider's test environment (Plaid, eBay): a URL that
	// begins with https://. Default: what the scheme says.
	KeyService string `json:"key_service,omitempty"`

	preset string
}

// newPresetScheme returns the module of a preset.
func newPresetScheme(preset string) *PresetScheme { return &PresetScheme{preset: preset} }

// CaddyModule returns the Caddy module information.
func (p *PresetScheme) CaddyModule() caddy.ModuleInfo {
	preset := p.preset
	return caddy.ModuleInfo{
		ID:  caddy.ModuleID("relay.schemes." + preset),
		New: func() caddy.Module { return newPresetScheme(preset) },
	}
}

// Describe returns the preset.
func (p *PresetScheme) Describe() (*scheme.Scheme, error) {
	described, ok := scheme.Preset(p.preset)
	if !ok {
		return nil, fmt.Errorf("verify %s: there is no such preset%s", p.preset, at(p.Origin))
	}
	if p.KeyService == "" {
		return described, nil
	}
	if described.KeyService == nil {
		return nil, fmt.Errorf("verify %s: key_service: this scheme has none%s", p.preset, at(p.Origin))
	}
	described.KeyService.URL = p.KeyService
	if err := described.Validate(); err != nil {
		return nil, fmt.Errorf("verify %s: key_service: %w%s", p.preset, err, at(p.Origin))
	}
	return described, nil
}

// Interface guard
var _ SchemeModule = (*PresetScheme)(nil)
