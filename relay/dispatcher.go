// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// dispatcher feeds a scheduler with what happens and does what it decides.
type dispatcher struct {
	session *session
	clock   Clock
	workers *workers
	waiters waiters
	lanes   lanes

	mu        sync.Mutex
	scheduler *scheduler
	onTimer   func()
	stopTimer func() bool
	closed    bool

	// claims counts the claims under way, and what makes waiting deliveries due.
	claims sync.WaitGroup

	// idle is closed when the scheduler drains and no attempt runs any more.
	idle     chan struct{}
	idleOnce sync.Once
}

func newDispatcher(s *session) *dispatcher {
	d := &dispatcher{session: s, clock: s.engine.clock, scheduler: newScheduler(), idle: make(chan struct{})}
	d.onTimer = func() { d.post(event{kind: timerFired}) }
	d.workers = newWorkers(d.attempt)
	return d
}

// post tells the scheduler what happened and sets off what it decides. It does
// not wait for any of it.
func (d *dispatcher) post(ev event) {
	var space [8]action
	actions := d.decide(ev, space[:0])
	for i := range actions {
		d.perform(actions[i])
	}
}

// perform sets off one action.
func (d *dispatcher) perform(a action) {
	switch a.kind {
	case startAttempt:
		d.workers.run(a)
	case startClaim:
		go d.claim(a.target, a.limit)
	case startHasten:
		go d.hasten(a.target, a.limit)
	case releaseLease:
		a.leased.waiter.settle(false)
		a.leased.hold.drop()
		a.leased.over()
		d.session.finisher.add(record{finish: store.Finish{Lease: a.leased.delivery.Lease(), State: store.Pending}})
	case tellDown:
		a.target.alert.Warn("destination is down: its deliveries wait, one of them probes it from time to time",
			zap.Duration("every", probeEvery))
	case tellUp:
		a.target.alert.Info("destination is back")
	}
}

// decide runs one step. The timer is set under the lock, because of two timers
// that overtook each other the wrong one would stay; and claims are counted
// under it, so that none is missed by who waits for them after drainBegan.
func (d *dispatcher) decide(ev event, actions []action) []action {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	now := d.clock.Now()
	actions = d.scheduler.step(now, ev, actions)
	if d.scheduler.draining && d.scheduler.running == 0 {
		d.idleOnce.Do(func() { close(d.idle) })
	}
	for i := range actions {
		switch actions[i].kind {
		case startClaim, startHasten:
			d.claims.Add(1)
		case setTimer:
			if d.stopTimer != nil {
				d.stopTimer()
			}
			d.stopTimer = d.clock.AfterFunc(max(0, actions[i].at.Sub(now)), d.onTimer)
		}
	}
	return actions
}

// reserve asks for places in the windows of the targets of a message.
func (d *dispatcher) reserve(targets []Target, deliveries []store.NewDelivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, t := range targets {
		deliveries[i] = store.NewDelivery{Destination: t.Destination, OrderKey: t.OrderKey}
		if d.scheduler.reserve(t.Destination) {
			deliveries[i].Lease = leaseForever
		}
	}
}

// tries reports whether deliveries to a destination are tried now, or as soon as
// it is their turn.
func (d *dispatcher) tries(destination string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.scheduler.tries(destination)
}

// halts reports whether nothing is delivered to a destination for some time to
// come, because it is paused or down.
func (d *dispatcher) halts(destination string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.scheduler.queues[destination]
	return q != nil && q.target != nil && q.halted()
}

// lags reports whether a destination has enough that is due.
func (d *dispatcher) lags(destination string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.scheduler.queues[destination]
	return q != nil && q.target != nil && q.behind()
}

// claim fetches due deliveries from the store.
func (d *dispatcher) claim(t *target, limit int) {
	defer d.claims.Done()
	ctx := context.Background()
	claimed, err := d.session.store.Claim(ctx, store.ClaimRequest{Destination: t.ID, Limit: limit, Lease: leaseForever})
	if err != nil {
		d.session.storeError("claiming deliveries", err)
	} else if !claimed.Next.IsZero() {
		// By our own clock, since the store's may have been set differently.
		claimed.Next = d.clock.Now().Add(claimed.Next.Sub(d.session.store.Now()))
	}
	d.post(event{kind: claimEnded, destination: t.ID, claimed: claimed, err: err})
}

// busy counts one more who is waited for before the session ends, unless it ends
// already.
func (d *dispatcher) busy() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.scheduler.draining {
		return false
	}
	d.claims.Add(1)
	return true
}

// working reports whether attempts are still begun.
func (d *dispatcher) working() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.closed && !d.scheduler.draining
}

// target returns the target in force for a destination, nil for none.
func (d *dispatcher) target(destination string) *target {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.scheduler.queues[destination]; q != nil {
		return q.target
	}
	return nil
}

// close makes the dispatcher deaf. Attempts that still run end unheard.
func (d *dispatcher) close() {
	d.mu.Lock()
	d.closed = true
	if d.stopTimer != nil {
		d.stopTimer()
	}
	d.mu.Unlock()
	d.workers.close()
}

// leaseForever is the lease on a store that one process has to itself: it ends
// with the process and needs no extension.
const leaseForever = 10 * 365 * 24 * time.Hour
