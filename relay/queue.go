// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// readyWindow bounds the deliveries of one destination that are held ready in
// memory; all others stay in the store until it is their turn.
const readyWindow = 1024

// queue is what the scheduler knows about one destination.
type queue struct {
	id string

	// target is nil while no configuration in force has the destination.
	target *target

	// ready holds leased deliveries that wait for a slot, oldest first from head.
	ready []*job
	head  int

	// reserved counts places in the window promised to messages that are being
	// committed.
	reserved int

	// running counts attempts.
	running int

	// breaker says whether the destination is down.
	breaker breaker

	// blocked says that the queue waits for one of the engine's own slots.
	blocked bool

	// claiming says that a claim is under way.
	claiming bool

	// stored says that the store may hold deliveries that are due.
	stored bool

	// dueAt is when the next stored delivery becomes due, zero where none is known.
	dueAt time.Time
}

func (q *queue) waiting() int { return len(q.ready) - q.head }

func (q *queue) push(j *job) { q.ready = append(q.ready, j) }

func (q *queue) pop() *job {
	j := q.ready[q.head]
	q.ready[q.head] = nil
	q.head++
	if q.head == len(q.ready) {
		q.ready, q.head = q.ready[:0], 0
	} else if q.head >= readyWindow {
		n := copy(q.ready, q.ready[q.head:])
		clear(q.ready[n:])
		q.ready, q.head = q.ready[:n], 0
	}
	return j
}

// room returns how many more deliveries the window takes.
func (q *queue) room() int { return readyWindow - q.waiting() - q.reserved }

// wake notes that a stored delivery becomes due at t.
func (q *queue) wake(t time.Time) {
	if q.dueAt.IsZero() || t.Before(q.dueAt) {
		q.dueAt = t
	}
}

// took notes the answer to a claim. By the store's clock nothing more is due
// now, whatever ours says; so the next claim waits a little in any case.
func (q *queue) took(now time.Time, c store.Claimed) {
	for i := range c.Deliveries {
		q.push(&job{delivery: c.Deliveries[i]})
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
}

// found takes in what an attempt tells about the destination.
func (q *queue) found(now time.Time, ev event, actions []action) []action {
	wasOpen := q.breaker.open
	q.breaker.ended(now, ev.probe, ev.found)
	switch {
	case q.target == nil || q.breaker.open == wasOpen:
		return actions
	case wasOpen:
		return append(actions, action{kind: tellUp, target: q.target})
	default:
		return append(actions, action{kind: tellDown, target: q.target})
	}
}
