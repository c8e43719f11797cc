// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// schemesNamespace is where schemes are guests.
const schemesNamespace = "relay.schemes."

// parseVerify reads a verify option, whose scheme reads the rest of it.
func (p *relayParser) parseVerify() error {
	if !p.NextArg() {
		return p.Err("verify needs a scheme, as in verify stripe {env.STRIPE_WEBHOOK_SECRET}")
	}
	raw, err := parseScheme(p.Dispenser)
	p.relay.VerifyRaw = append(p.relay.VerifyRaw, raw)
	return err
}

// parseScheme reads the scheme whose name is the current token.
func parseScheme(d *caddyfile.Dispenser) (json.RawMessage, error) {
	name := d.Val()
	const first = "the name of a scheme comes first, and then its secrets: verify stripe {env.STRIPE_WEBHOOK_SECRET}"
	switch {
	case placeholder.MatchString(name):
		return nil, d.Errf("'%s' is no scheme: %s", name, first)
	case looksSecret(name):
		return nil, d.Errf("what stands behind verify looks like a secret, and is not shown here: %s", first)
	}
	if preset, ok := scheme.Preset(name); ok {
		name = preset.Name
	}
	if _, err := caddy.GetModule(schemesNamespace + name); err != nil {
		const remedy = "'caddy list-modules' lists all as relay.schemes.*"
		if near := scheme.Suggest(name); near != "" {
			return nil, d.Errf("unknown scheme '%s', did you mean '%s'? %s", name, near, remedy)
		}
		return nil, d.Errf("unknown scheme '%s'. %s; verify hmac describes any other", name, remedy)
	}
	guest, err := caddyfile.UnmarshalModule(d, schemesNamespace+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(guest, "scheme", name, nil), nil
}

// keyServiceWord is the word for where keys are asked for.
const keyServiceWord = "key_service"

// parseResign reads a resign option.
func (p *Policy) parseResign(d *caddyfile.Dispenser) (err error) {
	if !d.NextArg() {
		return d.Err("resign takes a scheme and its secrets, as in resign standard_webhooks {env.APP_SECRET}, or off")
	}
	p.Resign = new(Resign)
	if d.Val() == "off" {
		p.Resign.Off = true
		if d.NextArg() || d.NextBlock(d.Nesting()) {
			return d.Err("resign off has nothing to set")
		}
		return nil
	}
	p.Resign.SchemeRaw, err = parseScheme(d)
	if err != nil {
		// The scheme takes every line that it stands in for one of verify.
		return errors.New(strings.ReplaceAll(err.Error(), "verify ", "resign "))
	}
	return nil
}

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	verify <preset> [<secrets...>] {
//	    secret        <secrets...>
//	    token         <verify token>
//	    tolerance     <duration>
//	    keys          <files...>
//	    expect_secret [<names...>]
//	    overlap       <duration>|off
//	    key_service   <url>
//	}
func (p *PresetScheme) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the scheme
	p.Origin = place(d)
	p.Texts = d.RemainingArgs()
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		if err := once(d, seen, d.Val(), []string{"secret", "keys"}); err != nil {
			return err
		}
		if d.Val() == keyServiceWord {
			if !d.AllArgs(&p.KeyService) || p.KeyService == "" {
				return d.Err("key_service takes one URL")
			}
			continue
		}
		handled, err := p.parse(d)
		if err != nil {
			return err
		}
		if !handled {
			return unknownWord(d, "verify "+p.preset, append(slices.Clone(secretWords), keyServiceWord))
		}
	}
	described, err := p.Describe()
	if err != nil {
		return err
	}
	if err := p.complete(d, p.preset, described.Keyless()); err != nil {
		return err
	}
	if err := p.check(described); err != nil {
		d.Reset()
		d.Next()
		return d.Errf("verify %s: %w", p.preset, err)
	}
	return nil
}

// parseSecret reads a secret option.
func (s *Secrets) parseSecret(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.WrapErr(errNoSecret)
	}
	s.Texts = append(s.Texts, args...)
	return nil
}

// complete reports that a secret was not given, at the line of the scheme.
func (s *Secrets) complete(d *caddyfile.Dispenser, name string, keyless bool) error {
	given := len(s.Texts) > 0 || len(s.Expected) > 0 || keyless
	if given && !slices.Contains(s.Texts, "") {
		return nil
	}
	if withoutSecrets() {
		if !given {
			s.Texts = []string{""}
		}
		return nil
	}
	d.Reset()
	d.Next()
	return d.Errf("verify %s: %w", name, errNoSecret)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*PresetScheme)(nil)
