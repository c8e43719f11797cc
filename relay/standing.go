// SPDX-License-Identifier: Apache-2.0

package relay

// Standing is how a destination stands with the dispatcher.
type Standing struct {
	// Destination is the id of the destination.
	Destination string

	// Slots is how many attempts may run at once now: from 1 to MaxInFlight, fewer
	// while the destination shows that it can not take more.
	Slots int

	// Running is how many attempts are under way.
	Running int

	// Ready is how many deliveries are held in memory, waiting for a slot.
	Ready int

	// Down says that the destination is down and only probed.
	Down bool

	// Paused says that an operator has paused the destination.
	Paused bool
}

// Standings tells how the destinations in force stand, in no particular order.
// It is empty while no store is open. It does not wait for anything.
func (e *Engine) Standings() []Standing {
	s, err := e.ready(expired())
	if err != nil {
		return nil
	}
	return s.dispatcher.standings()
}

// SeenHealthy tells the engine that a health check of somebody else's has found
// a destination up again after it was down. What waits for its next attempt is
// made due at once, within the limits of the destination; if its attempts have
// found it down too, after one of them has succeeded, which is made at once.
func (e *Engine) SeenHealthy(destination string) {
	if s, err := e.ready(expired()); err == nil {
		s.dispatcher.post(event{kind: seenHealthy, destination: destination})
	}
}

func (d *dispatcher) standings() []Standing {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []Standing
	for _, q := range d.scheduler.order {
		if q.target == nil {
			continue
		}
		all = append(all, q.standing())
	}
	return all
}

func (q *queue) standing() Standing {
	return Standing{
		Destination: q.id, Slots: q.pace.limit, Running: q.running, Ready: q.waiting(), Down: q.breaker.open, Paused: q.paused,
	}
}
