// SPDX-License-Identifier: Apache-2.0

package caddymodule

import "time"

// How long a configuration that was replaced waits for its attempts, and how often
// it looks.
const (
	settleTime = 500 * time.Millisecond
	settleGap  = time.Millisecond
)

// settle lets short attempts of this configuration that run through Caddy's
// handlers end before Caddy cleans those up. A proxy then closes the connections
// that are idle, and Go takes one for idle a moment before it hands on an answer
// without a body that came on it: the answer is lost, and what the app has taken
// would be sent again. So nothing is about to be answered then, as far as can be.
// Longer attempts go on, and most likely are answered at another moment. Attempts
// that are made directly lose nothing, and nobody waits for them.
func (a *App) settle() {
	over := time.NewTimer(settleTime)
	defer over.Stop()
	tick := time.NewTicker(settleGap)
	defer tick.Stop()
	for a.attempting() {
		select {
		case <-tick.C:
		case <-over.C:
			return
		}
	}
}

// attempting reports whether attempts of this configuration are under way in
// chains of handlers.
func (a *App) attempting() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.sources {
		for _, d := range s.destinations {
			if d.forward.running.Load() > 0 {
				return true
			}
		}
	}
	return false
}
