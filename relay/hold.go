// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync/atomic"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// hold keeps a message in memory, with the budget its body takes, until the
// last delivery that was handed over with it has been tried.
type hold struct {
	message     *store.Message
	reservation *Reservation
	refs        atomic.Int32
}

// add takes one more reference.
func (h *hold) add() {
	if h != nil {
		h.refs.Add(1)
	}
}

// drop gives one reference back.
func (h *hold) drop() {
	if h != nil && h.refs.Add(-1) == 0 {
		h.reservation.Release()
	}
}

// leased is a delivery that this process holds a lease on.
type leased struct {
	delivery store.Delivery
	// hold is nil when the message must be read from the store.
	hold *hold
	// waiter waits for this attempt, nil where nobody does.
	waiter *Waiter
	// place is its number in the order in which its queue got them.
	place uint64
	// slot is what the attempt takes.
	slot slot
	// tried is closed when a delivery on trial has been tried or given back, nil for all
	// others.
	tried chan struct{}
}

// over notes that it has been tried or given back.
func (j *leased) over() {
	if j.tried != nil {
		close(j.tried)
	}
}
