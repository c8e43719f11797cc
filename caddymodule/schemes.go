// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// SchemeModule is what a guest of the namespace relay.schemes implements.
type SchemeModule interface {
	// Compile binds the scheme to its secrets. It is called after provisioning.
	// adjust, which may be nil, changes the description first.
	Compile(adjust func(*scheme.Scheme)) (*scheme.Verifier, error)
}

// Secrets is what all schemes have.
type Secrets struct {
	// The secrets, any of which may verify a request: several make a rotation.
	// `{env.NAME}` is read when Caddy starts, `{file./absolute/path}` when the
	// configuration is loaded. A secret written out here is visible to all who can
	// read the configuration.
	Texts []string `json:"secrets,omitempty"`

	// Where this was configured, for messages. Default: unknown.
	Origin string `json:"origin,omitempty"`

	resolved []secret
}

// provision resolves the secrets of the scheme of that name.
func (s *Secrets) provision(ctx caddy.Context, name string) error {
	var err error
	if s.resolved, err = resolveSecrets(s.Texts); err != nil {
		return fmt.Errorf("verify %s: %w%s", name, err, at(s.Origin))
	}
	log := ctx.Logger().With(zap.String("scheme", name), zap.String("origin", s.Origin))
	for i, text := range s.Texts {
		number := zap.Int("secret", i+1)
		if inline(text) {
			log.Warn("secret is written out in the configuration, where /config and autosave.json show it; use {env.NAME} or {file./absolute/path}", number)
		}
		if len(s.resolved[i].bytes) < weakSecret {
			log.Warn("secret is shorter than 16 bytes and can be guessed", number)
		}
	}
	return nil
}

// compile binds a description to the secrets.
func (s *Secrets) compile(described *scheme.Scheme, adjust func(*scheme.Scheme)) (*scheme.Verifier, error) {
	if adjust != nil {
		adjust(described)
	}
	keys := make([][]byte, len(s.resolved))
	for i, resolved := range s.resolved {
		keys[i] = resolved.bytes
	}
	v, err := described.Compile(keys)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w%s", described.Name, err, at(s.Origin))
	}
	return v, nil
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

// Provision resolves the secrets.
func (p *PresetScheme) Provision(ctx caddy.Context) error { return p.provision(ctx, p.preset) }

// Compile binds the preset to its secrets.
func (p *PresetScheme) Compile(adjust func(*scheme.Scheme)) (*scheme.Verifier, error) {
	described, ok := scheme.Preset(p.preset)
	if !ok {
		return nil, fmt.Errorf("verify %s: there is no such preset%s", p.preset, at(p.Origin))
	}
	return p.compile(described, adjust)
}

// Interface guards
var (
	_ SchemeModule      = (*PresetScheme)(nil)
	_ caddy.Provisioner = (*PresetScheme)(nil)
)
