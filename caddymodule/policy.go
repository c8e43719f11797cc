// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/retry"
)

// Policy says how deliveries are made. A relay has one, and each destination may
// change parts of it.
type Policy struct {
	// How long an attempt may take. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// When failed attempts are made again. Default: exponential, from 1s, at most
	// 15m apart, for 72h.
	RetryRaw json.RawMessage `json:"retry,omitempty" caddy:"namespace=relay.retry_policies inline_key=policy"`

	// How many attempts run at once. Default: 64.
	MaxInFlight int `json:"max_in_flight,omitempty"`

	// Which messages are delivered one after the other. Default: none, all flow at
	// once.
	OrderBy *OrderBy `json:"order_by,omitempty"`

	// What signature the app gets. Default: the sender's, made again with the first
	// secret where it would be too old for the app.
	Resign *Resign `json:"resign,omitempty"`

	rule *retry.Rule
}

// provision loads the retry policy.
func (p *Policy) provision(ctx caddy.Context) error {
	if p.Timeout < 0 || p.MaxInFlight < 0 {
		return fmt.Errorf("timeout and max_in_flight must not be negative")
	}
	if err := p.OrderBy.provision(); err != nil {
		return err
	}
	if p.RetryRaw == nil {
		return nil
	}
	guest, err := ctx.LoadModule(p, "RetryRaw")
	if err != nil {
		return fmt.Errorf("loading retry policy: %w", err)
	}
	module, ok := guest.(RetryModule)
	if !ok {
		return fmt.Errorf("retry policy is a %T, which is no caddymodule.RetryModule", guest)
	}
	rule := module.Rule()
	p.rule = &rule
	return nil
}

// under fills in what p leaves open from the policy of the relay.
func (p Policy) under(relayed Policy) Policy {
	if p.Timeout == 0 {
		p.Timeout = relayed.Timeout
	}
	if p.MaxInFlight == 0 {
		p.MaxInFlight = relayed.MaxInFlight
	}
	if p.rule == nil {
		p.rule = relayed.rule
	}
	if p.OrderBy == nil {
		p.OrderBy = relayed.OrderBy
	}
	if p.Resign == nil {
		p.Resign = relayed.Resign
	}
	return p
}

// apply sets the policy of an engine's destination, defaults included.
func (p Policy) apply(d *relay.Destination) {
	d.Timeout, d.MaxInFlight, d.Retry = relay.DefaultTimeout, relay.DefaultMaxInFlight, retry.Default()
	if p.Timeout != 0 {
		d.Timeout = time.Duration(p.Timeout)
	}
	if p.MaxInFlight != 0 {
		d.MaxInFlight = p.MaxInFlight
	}
	if p.rule != nil {
		d.Retry = *p.rule
	}
	d.Hold = p.OrderBy.holds()
}
