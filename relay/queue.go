// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// readyWindow bounds the deliveries of one destination that are held ready in
// memory; all others stay in the store until it is their turn.
const readyWindow = 1024

// queue is what the scheduler knows about one destination.
type queue struct {
	id string

	// target is nil while no configuration in force has the destination. turn counts
	// how often it has changed to another one.
	target *target
	turn   uint64

	// paused says that an operator has paused the destination.
	paused bool

	// fresh and retries hold leased deliveries that wait for a slot: those that have
	// not failed yet and those that have. came numbers them in the order of their
	// coming.
	fresh   fifo
	retries fifo
	came    uint64

	// reserved counts places in the window promised to messages that are being
	// committed.
	reserved int

	// running counts attempts, and retrying those among them that are retries.
	running  int
	retrying int

	// loading is the memory for bodies that attempts under way read from the store.
	loading int64

	// breaker says whether the destination is down, pace how many attempts it can
	// take at once, and rate how many within some time.
	breaker breaker
	pace    pace
	rate    rate

	// rescue says what is done for the deliveries that wait for a retry.
	rescue rescue

	// forSlots and forMemory say that the queue stands in the line of that name.
	forSlots  bool
	forMemory bool

	// lacks is what the queue stopped for when it was last looked at. served says
	// that it has its turn in the line for memory, deficit how many bytes it may
	// still take there.
	lacks   lack
	served  bool
	deficit int64

	// claiming says that a claim is under way.
	claiming bool

	// stored says that the store may hold deliveries that are due.
	stored bool

	// dueAt is when the next stored delivery becomes due, zero where none is known.
	dueAt time.Time
}

// waiting returns how many deliveries wait for a slot.
func (q *queue) waiting() int { return q.fresh.len() + q.retries.len() }

func (q *queue) push(j *leased) {
	q.came++
	j.place = q.came
	if j.slot.retry = j.delivery.Tries > 0; j.slot.retry {
		q.retries.push(j)
	} else {
		q.fresh.push(j)
	}
}

// next returns where the delivery is that has the next slot, nil for none. What came
// first goes first; but retries get at most half of the destination's slots, so
// that what keeps failing does not keep fresh deliveries waiting. Where they fill
// the window they are what fresh ones wait for, and get all slots.
func (q *queue) next() *fifo {
	again := q.retries.len() > 0 && q.retrying < (q.pace.limit+1)/2 || q.crowded()
	fresh := q.fresh.len() > 0
	switch {
	case fresh && again && q.retries.first().place > q.fresh.first().place, fresh && !again:
		return &q.fresh
	case again:
		return &q.retries
	default:
		return nil
	}
}

// crowded reports whether nothing but retries is in the window, and so many that
// what is due in the store can not be fetched.
func (q *queue) crowded() bool {
	return q.stored && q.retries.len() > 0 && q.fresh.len() == 0 && q.reserved == 0 && q.room() < claimBatch
}

// drop takes all deliveries out and gives them back.
func (q *queue) drop(actions []action) []action {
	for _, f := range [...]*fifo{&q.fresh, &q.retries} {
		for f.len() > 0 {
			actions = append(actions, action{kind: releaseLease, leased: f.pop()})
		}
	}
	return actions
}

// revoke takes a delivery out that was taken away, if it waits for a slot.
func (q *queue) revoke(id store.DeliveryID, actions []action) []action {
	for _, f := range [...]*fifo{&q.fresh, &q.retries} {
		if j := f.take(id); j != nil {
			actions = append(actions, action{kind: releaseLease, leased: j})
		}
	}
	return actions
}

// behind reports whether what becomes due now would have to wait: there is a
// backlog in the store, or the window is half full.
func (q *queue) behind() bool {
	return q.stored || q.claiming || q.room() < readyWindow/2
}

// halted reports whether nothing is delivered for some time to come.
func (q *queue) halted() bool { return q.paused || q.breaker.open }

// room returns how many more deliveries the window takes.
func (q *queue) room() int { return readyWindow - q.waiting() - q.reserved }

// wake notes that a stored delivery becomes due at t.
func (q *queue) wake(t time.Time) {
	if q.dueAt.IsZero() || t.Before(q.dueAt) {
		q.dueAt = t
	}
}

// took notes the answer to a claim, whose time is behind ours by so much. By the
// store's clock nothing more is due now, whatever ours says; so the next claim
// waits a little in any case.
func (q *queue) took(now time.Time, c store.Claimed, behind time.Duration) {
	for i := range c.Deliveries {
		q.push(&leased{delivery: c.Deliveries[i]})
	}
	if !c.Next.IsZero() {
		c.Next = c.Next.Add(behind)
	}
	if c.More {
		q.stored = true
	} else if !c.Next.IsZero() {
		next := now.Add(claimGap)
		if c.Next.After(next) {
			next = c.Next
		}
		q.wake(next)
	}
	// The end of a lease that has no end is nothing that one waits for.
	if c.More || !c.Next.IsZero() && c.Next.Before(now.Add(leaseForever/2)) {
		q.rescue.waits = true
	}
}

// retarget puts another target in force, nil for none. The destination may have
// been repaired by that, so if it is down it is probed at once. What it was found
// to be able to take, and what was started of late, is not forgotten.
func (q *queue) retarget(now time.Time, t *target) {
	if q.target == nil && t != nil {
		q.stored = true
	}
	if q.target != nil && t != q.target {
		q.turn++
	}
	q.target = t
	if t != nil {
		q.pace.set(t.MaxInFlight)
	}
	q.breaker.retry(now)
	q.rescue.notBefore = time.Time{}
}

// resume ends a pause. Much may have happened meanwhile, so a destination that
// was down is probed at once.
func (q *queue) resume(now time.Time) {
	if !q.paused {
		return
	}
	q.paused, q.stored = false, true
	q.breaker.retry(now)
	q.rescue.notBefore = time.Time{}
}

// found takes in what an attempt tells about the destination: nothing, if it was
// begun with a target that is not in force any more.
func (q *queue) found(now time.Time, ev event, actions []action) []action {
	if ev.slot.turn != q.turn {
		return actions
	}
	wasOpen := q.breaker.open
	q.breaker.ended(now, ev.slot.probe && ev.slot.outage == q.breaker.outage, ev.found)
	switch {
	case wasOpen && !q.breaker.open:
		q.pace.back()
	case !wasOpen:
		q.pace.told(ev.slot.round, ev.found)
	}
	if q.breaker.open != wasOpen {
		q.rescue.turned(wasOpen)
	}
	if q.breaker.open {
		q.rescue.putOff(now.Add(min(ev.later, retry.MaxRetryAfter)))
	}
	if q.breaker.open == wasOpen || q.target == nil {
		return actions
	}
	kind := tellDown
	if wasOpen {
		kind = tellUp
	}
	return append(actions, action{kind: kind, target: q.target})
}
