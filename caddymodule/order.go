// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// What a dead delivery does to those behind it.
const (
	releaseOnDead = "release"
	holdOnDead    = "hold"
)

// OrderBy has messages that share a key delivered one after the other, in the
// order in which they were accepted.
type OrderBy struct {
	// Whether there is no order, whatever the relay says. Default: false.
	Off bool `json:"off,omitempty"`

	// A template whose value is the key. A message that lacks a value which it names
	// is delivered without order. Default: none.
	Key string `json:"key,omitempty"`

	// What becomes of those behind a dead delivery: `release` lets the next one go,
	// `hold` keeps them until the dead one is re-driven and delivered, canceled or
	// deleted. Default: release.
	OnDead string `json:"on_dead,omitempty"`

	template *scheme.Template
}

// provision reports an order that contradicts itself, and reads its key.
func (o *OrderBy) provision() error {
	if o == nil {
		return nil
	}
	if o.Off {
		if o.Key != "" || o.OnDead != "" {
			return fmt.Errorf("order_by: off excludes everything else")
		}
		return nil
	}
	if o.OnDead != "" && o.OnDead != releaseOnDead && o.OnDead != holdOnDead {
		return fmt.Errorf("order_by: on_dead is release or hold, not '%s'", o.OnDead)
	}
	if !placeholder.MatchString(o.Key) {
		return fmt.Errorf("order_by: '%s' is no placeholder, as in {http.relay.body.customer}: all messages would have the same key", o.Key)
	}
	var err error
	if o.template, err = scheme.ParseTemplate(o.Key); err != nil {
		return fmt.Errorf("order_by: %w", err)
	}
	return nil
}

// holds reports whether a dead delivery keeps those behind it.
func (o *OrderBy) holds() bool { return o != nil && o.OnDead == holdOnDead }

// orders reports whether there is an order.
func (o *OrderBy) orders() bool { return o != nil && o.template != nil }

// value returns the order key of a message, empty where it lacks one. What is too
// long for a key is hashed.
func (o *OrderBy) value(request *scheme.Request, fields scheme.Fields) string {
	value, ok := o.template.Append(nil, request, fields)
	if !ok {
		return ""
	}
	if len(value) > store.MaxOrderKey {
		sum := sha256.Sum256(value)
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	return string(value)
}

// order gives the targets of a message their order keys, and counts a message
// that lacks one.
func (h *Handler) order(targets []relay.Target, request *scheme.Request, verdict scheme.Verdict) {
	var last *OrderBy
	var key string
	missing := false
	for _, d := range h.destinations {
		if !d.OrderBy.orders() {
			continue
		}
		for i := range targets {
			if targets[i].Destination != d.id {
				continue
			}
			if d.OrderBy != last {
				last = d.OrderBy
				key = last.value(request, scheme.Fields{EventID: verdict.EventID, Type: verdict.Type, Source: h.Name})
			}
			targets[i].OrderKey = key
			missing = missing || key == ""
		}
	}
	if missing {
		metrics.unordered.WithLabelValues(h.Name).Inc()
	}
}
