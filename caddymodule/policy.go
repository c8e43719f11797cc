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

	// How many attempts run at once. Fewer do while the destination shows that it can
	// not take so many. Default: 64.
	MaxInFlight int `json:"max_in_flight,omitempty"`

	// How many attempts may be started within some time. Default: no limit.
	RateLimit *RateLimit `json:"rate_limit,omitempty"`

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
	if p.RateLimit != nil {
		if err := p.RateLimit.validate(); err != nil {
			return err
		}
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
	if p.RateLimit == nil {
		p.RateLimit = relayed.RateLimit
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
	if p.RateLimit != nil {
		d.Rate = relay.RateLimit{Events: p.RateLimit.Events, Window: time.Duration(p.RateLimit.Window)}
	}
	if p.rule != nil {
		d.Retry = *p.rule
	}
	d.Hold = p.OrderBy.holds()
}

// RateLimit bounds how many attempts are started within any span of some length,
// those that are retries too.
type RateLimit struct {
	// How many attempts may be started. Default: 0, which is no limit.
	Events int `json:"events,omitempty"`

	// The length of the span, at least 1ms. Default: none; it must be given with
	// `events`.
	Window caddy.Duration `json:"window,omitempty"`
}

// validate reports a limit that makes no sense.
func (l *RateLimit) validate() error {
	switch {
	case l.Events == 0 && l.Window == 0:
		return nil
	case l.Events < 1 || l.Window < caddy.Duration(time.Millisecond):
		return fmt.Errorf("rate_limit: it takes at least 1 attempt and a time of at least 1ms")
	default:
		return nil
	}
}
