// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-relay/caddy-relay/relay"
)

// Destination is one place where the messages of a relay go.
type Destination struct {
	// The stable name of the destination within its relay.
	Name string `json:"name"`

	// Which event types go there: exact names, or with a star at the end, as in
	// `invoice.*`. Default: all that the relay takes.
	Events []string `json:"events,omitempty"`

	Policy

	// The routes that a delivery runs through. One of their handlers must answer.
	Handle caddyhttp.RouteList `json:"handle"`

	id      string
	forward *forward
}

// provision makes the destination ready. inherited is the policy of the relay.
func (d *Destination) provision(ctx caddy.Context, source string, inherited Policy) error {
	if err := checkName(d.Name); err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	if err := checkPatterns(d.Events); err != nil {
		return fmt.Errorf("destination %s: %w", d.Name, err)
	}
	if len(d.Handle) == 0 {
		return fmt.Errorf("destination %s leads nowhere: give it forward <upstreams...>", d.Name)
	}
	if err := d.Policy.provision(ctx); err != nil {
		return fmt.Errorf("destination %s: %w", d.Name, err)
	}
	d.Policy = d.under(inherited)
	d.id = relay.DestinationID(source, d.Name)
	var err error
	d.forward, err = newForward(ctx, d.id, d.Handle)
	return err
}

// engine returns the destination as the engine sees it.
func (d *Destination) engine() relay.Destination {
	out := relay.Destination{ID: d.id, Deliverer: d.forward}
	d.apply(&out)
	return out
}
