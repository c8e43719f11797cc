// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"sync/atomic"
	"time"
)

// settleTime is how long a configuration that was replaced waits for its attempts.
const settleTime = 500 * time.Millisecond

// settle lets short attempts of this configuration that run through Caddy's
// handlers end before Caddy cleans those up. A handler that is shared with a site,
// as by invoke, may cut its attempts off then; for what a forward has of its own
// see lastingTransport. Longer attempts go on, and most likely are not harmed.
// Attempts that are made directly lose nothing, and nobody waits for them.
func (a *App) settle() {
	over := time.NewTimer(settleTime)
	defer over.Stop()
	for _, d := range a.destinations() {
		select {
		case <-d.forward.running.none():
		case <-over.C:
			return
		}
	}
}

// tally counts what is under way, and can be waited for by one at a time.
type tally struct {
	n    atomic.Int64
	zero atomic.Pointer[chan struct{}] // closed when nothing is under way; nil while nobody waits
}

// Add counts what has begun, or ended where delta is negative.
func (t *tally) Add(delta int64) {
	if t.n.Add(delta) == 0 {
		t.tell()
	}
}

// none returns what is closed when nothing is under way, which may be at once.
func (t *tally) none() <-chan struct{} {
	zero := make(chan struct{})
	t.zero.Store(&zero)
	if t.n.Load() == 0 {
		t.tell()
	}
	return zero
}

func (t *tally) tell() {
	if zero := t.zero.Swap(nil); zero != nil {
		close(*zero)
	}
}
