// SPDX-License-Identifier: Apache-2.0

package caddymodule

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// parseOrderBy reads an order_by option.
func (p *Policy) parseOrderBy(d *caddyfile.Dispenser) error {
	var text string
	if !d.Args(&text) || d.NextArg() {
		return d.Err("order_by takes one key, as in order_by {http.relay.body.customer}, or off")
	}
	p.OrderBy = &OrderBy{Key: text}
	if text == "off" {
		p.OrderBy = &OrderBy{Off: true}
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if err := once(d, seen, word, nil); err != nil {
			return err
		}
		if word != "on_dead" {
			return d.Errf("unknown option '%s' of order_by: it has on_dead", word)
		}
		if !d.AllArgs(&p.OrderBy.OnDead) {
			return d.Err("on_dead takes one word: release or hold")
		}
	}
	if err := p.OrderBy.provision(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}
