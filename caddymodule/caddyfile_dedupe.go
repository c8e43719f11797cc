// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// parseDedupe reads a dedupe option.
func (p *relayParser) parseDedupe() error {
	rule := new(Dedupe)
	p.relay.Dedupe = rule
	args := p.RemainingArgs()
	for _, arg := range args {
		if err := p.parseDedupeArg(rule, arg); err != nil {
			return err
		}
	}
	seen := make(map[string]bool)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		if err := once(p.Dispenser, seen, p.Val(), nil); err != nil {
			return err
		}
		if err := p.parseDedupeOption(rule); err != nil {
			return err
		}
	}
	if len(args) == 0 && len(seen) == 0 {
		return p.ArgErr()
	}
	if err := rule.check(); err != nil {
		return p.WrapErr(err)
	}
	return nil
}

// parseDedupeArg reads one argument: off, the window, or a key.
func (p *relayParser) parseDedupeArg(rule *Dedupe, arg string) error {
	if arg == "off" {
		rule.Off = true
		return nil
	}
	if window, err := caddy.ParseDuration(arg); err == nil {
		if rule.Window != 0 {
			return p.Err("dedupe has two windows")
		}
		if window <= 0 {
			return p.Errf("dedupe: the window '%s' must be positive; write dedupe off for none", arg)
		}
		rule.Window = caddy.Duration(window)
		return nil
	}
	if arg != bodyKey {
		if !strings.Contains(arg, "{") {
			return p.Errf("dedupe: '%s' is neither a placeholder, as in {http.relay.body.id}, nor body, nor a window, as in 48h", arg)
		}
		if _, err := scheme.ParseTemplate(arg); err != nil {
			return p.Errf("dedupe: %w", err)
		}
	}
	rule.Keys = append(rule.Keys, arg)
	return nil
}

// parseDedupeOption reads one line of the block of a dedupe option.
func (p *relayParser) parseDedupeOption(rule *Dedupe) error {
	switch word := p.Val(); word {
	case "on_duplicate":
		if !p.AllArgs(&rule.OnDuplicate) {
			return p.ArgErr()
		}
	case "required":
		if p.NextArg() {
			return p.ArgErr()
		}
		rule.Required = true
	default:
		return p.Errf("unknown option '%s' of dedupe: it has on_duplicate and required", word)
	}
	return nil
}
