// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"slices"

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
	name := p.Val()
	if preset, ok := scheme.Preset(name); ok {
		name = preset.Name
	}
	if _, err := caddy.GetModule(schemesNamespace + name); err != nil {
		const remedy = "'caddy list-modules' lists all as relay.schemes.*"
		if near := scheme.Suggest(name); near != "" {
			return p.Errf("unknown scheme '%s', did you mean '%s'? %s", name, near, remedy)
		}
		return p.Errf("unknown scheme '%s'. %s; verify hmac describes any other", name, remedy)
	}
	guest, err := caddyfile.UnmarshalModule(p.Dispenser, schemesNamespace+name)
	if err != nil {
		return err
	}
	p.relay.VerifyRaw = append(p.relay.VerifyRaw, caddyconfig.JSONModuleObject(guest, "scheme", name, nil))
	return nil
}

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	verify <preset> [<secrets...>] {
//	    secret <secrets...>
//	}
func (p *PresetScheme) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the scheme
	p.Origin = place(d)
	p.Texts = d.RemainingArgs()
	for d.NextBlock(0) {
		if d.Val() != "secret" {
			return d.Errf("unknown option '%s' of verify %s: it has secret", d.Val(), p.preset)
		}
		if err := p.parseSecret(d); err != nil {
			return err
		}
	}
	return p.complete(d, p.preset)
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
func (s *Secrets) complete(d *caddyfile.Dispenser, name string) error {
	if len(s.Texts) == 0 || slices.Contains(s.Texts, "") {
		d.Reset()
		d.Next()
		return d.Errf("verify %s: %w", name, errNoSecret)
	}
	return nil
}

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	verify hmac [sha256|sha1|sha512] [<secrets...>] {
//	    secret    <secrets...>
//	    header    <field> [<prefix>]
//	    encoding  hex|base64|base64url
//	    payload   <template>
//	    timestamp <template> [<tolerance>]
//	    key       raw|hex|base64|base64url
//	    event_id  <template>
//	    type      <template>
//	}
func (h *HMACScheme) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the scheme
	h.Origin = place(d)
	h.Texts = d.RemainingArgs()
	if len(h.Texts) > 0 {
		if _, ok := hmacAlgorithms[h.Texts[0]]; ok {
			h.Algorithm, h.Texts = h.Texts[0], h.Texts[1:]
		}
	}
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		if err := once(d, seen, d.Val(), []string{"secret"}); err != nil {
			return err
		}
		if err := h.parseOption(d); err != nil {
			return err
		}
	}
	if err := h.complete(d, "hmac"); err != nil {
		return err
	}
	if err := h.check(); err != nil {
		d.Reset()
		d.Next()
		return d.Errf("verify hmac: %w", err)
	}
	return nil
}

// parseOption reads one line of the block of verify hmac.
func (h *HMACScheme) parseOption(d *caddyfile.Dispenser) error {
	word := d.Val()
	if word == "secret" {
		return h.parseSecret(d)
	}
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s of verify hmac needs a value", word)
	}
	most := 1
	switch word {
	case "header":
		most = 2
		h.Header = args[0]
		if len(args) > 1 {
			h.Prefix = args[1]
		}
	case "timestamp":
		most = 2
		h.Timestamp = args[0]
		if len(args) > 1 {
			tolerance, err := duration(d, args[1])
			if err != nil {
				return err
			}
			h.Tolerance = tolerance
		}
	case "encoding":
		h.Encoding = args[0]
	case "payload":
		h.Payload = args[0]
	case "key":
		h.Key = args[0]
	case "event_id":
		h.EventID = args[0]
	case "type":
		h.Type = args[0]
	default:
		return d.Errf("unknown option '%s' of verify hmac: it has secret, header, encoding, payload, timestamp, key, event_id and type", word)
	}
	if len(args) > most {
		return d.Errf("%s of verify hmac has too many values; put quotes around one with spaces", word)
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*PresetScheme)(nil)
	_ caddyfile.Unmarshaler = (*HMACScheme)(nil)
)
