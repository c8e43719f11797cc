// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// claimBatch is how many deliveries one claim asks for at most.
	claimBatch = 256

	// claimRetry is how long a claim that failed is put off.
	claimRetry = time.Second

	// claimGap is the least time between a claim that got all that was due and the
	// claim for what becomes due next.
	claimGap = 5 * time.Millisecond
)

// scheduler decides what is claimed and what is tried, and when. It is a step
// function: it has no goroutines, no locks and does no I/O, so that a run can be
// repeated exactly from its events.
type scheduler struct {
	// queues are the destinations ever heard of, by id; order has them in the
	// order of their coming, since the order of a map is never the same.
	queues map[string]*queue
	order  []*queue

	// running counts attempts over all destinations; forSlots lists the queues that
	// wait for the bound on it, in the order of their turns.
	running  int
	forSlots []*queue

	// memory bounds the bodies that attempts under way read from the store, loading
	// is what they take; forMemory lists the queues that wait for it.
	// serving is the one whose turn it is.
	memory    int64
	loading   int64
	forMemory []*queue
	serving   *queue

	watch

	// wakeAt is when the scheduler next wants to be woken, armedAt the time of the
	// timer that is set; zero for none.
	wakeAt  time.Time
	armedAt time.Time

	// trying says that nothing is claimed yet, because what was under way when the
	// last process died is tried first.
	trying bool

	// draining says that nothing is started or claimed any more.
	draining bool
}

func newScheduler() *scheduler {
	return &scheduler{queues: make(map[string]*queue), memory: DefaultMaxBuffer}
}

// event is something that happened.
type event struct {
	kind eventKind
	// destination is the id of the destination it happened to.
	destination string
	leased      *leased
	claimed     store.Claimed
	err         error
	at          time.Time
	// targets and memory are set for configured.
	targets []*target
	memory  int64
	// slot, found and later, what was asked for with Retry-After, are set for
	// attemptEnded.
	slot  slot
	found condition
	later time.Duration
	// count is set for hastenEnded.
	count int
	// delivery is set for revoked.
	delivery store.DeliveryID
}

type eventKind uint8

const (
	// handedOver: leased was committed with a lease, into a reserved place.
	handedOver eventKind = iota + 1
	// unreserved: a reserved place is not needed.
	unreserved
	// becameStored: the store may hold a delivery that is due.
	becameStored
	// claimEnded: claimed or err answers a claim.
	claimEnded
	// attemptEnded: one attempt is over.
	attemptEnded
	// becameWaiting: a stored delivery becomes due at at.
	becameWaiting
	// timerFired: the timer that was set has fired.
	timerFired
	// hastenEnded: count deliveries that waited are due now, or err.
	hastenEnded
	// seenHealthy: a health check has found the destination up again.
	seenHealthy
	// paused: nothing may be delivered to the destination any more.
	paused
	// resumed: the destination is not paused any more.
	resumed
	// revoked: an operator has taken delivery from whoever holds it.
	revoked
	// configured: targets are in force, and no others, with memory for bodies.
	configured
	// drainBegan: nothing is to be started any more.
	drainBegan
	// putOnTrial: leased was claimed to be tried before all others.
	putOnTrial
	// trialEnded: all others may follow.
	trialEnded
)

// action is something to do.
type action struct {
	kind   actionKind
	target *target
	leased *leased
	limit  int
	at     time.Time
}

type actionKind uint8

const (
	// startAttempt: try leased at target, then report attemptEnded.
	startAttempt actionKind = iota + 1
	// startClaim: claim up to limit deliveries for target, then report claimEnded.
	startClaim
	// startHasten: make up to limit waiting deliveries for target due, or with
	// hastenBatch all of them, then report hastenEnded.
	startHasten
	// releaseLease: give the lease back that leased has.
	releaseLease
	// setTimer: report timerFired at at; it replaces the timer that was set.
	setTimer
	// tellDown: tell the operator that target is down and will only be probed.
	tellDown
	// tellUp: tell the operator that target is back.
	tellUp
)

// step takes an event and appends what is to be done to actions.
func (s *scheduler) step(now time.Time, ev event, actions []action) []action {
	now = s.steady(now, s.armedAt, ev.kind == timerFired)
	if now.Add(-clockSlack).After(s.armedAt) {
		// The clock has leapt over it, and it fires only later by that much.
		s.armedAt = time.Time{}
	}
	switch ev.kind {
	case configured:
		s.memory = ev.memory
		actions = s.configure(now, ev.targets, actions)
		actions = s.serve(now, actions)
	case drainBegan:
		s.draining = true
		actions = s.pumpAll(now, actions)
	case trialEnded:
		s.trying = false
		actions = s.pumpAll(now, actions)
	case timerFired:
		s.wakeAt, s.armedAt = time.Time{}, time.Time{}
		actions = s.pumpAll(now, actions)
	default:
		actions = s.stepQueue(now, ev, actions)
	}
	return s.arm(actions)
}

// stepQueue takes an event that concerns one destination.
func (s *scheduler) stepQueue(now time.Time, ev event, actions []action) []action {
	q := s.queue(ev.destination)
	switch ev.kind {
	case handedOver:
		q.reserved--
		q.push(ev.leased)
	case putOnTrial:
		q.push(ev.leased)
	case unreserved:
		q.reserved--
	case becameStored:
		q.stored = true
	case becameWaiting:
		q.wake(ev.at.Add(s.behind))
		q.rescue.waits = true
	case hastenEnded:
		q.hastened(now, ev)
	case claimEnded:
		q.claiming = false
		q.took(now, ev.claimed, s.behind)
		if ev.err != nil {
			q.wake(now.Add(claimRetry))
		}
	case attemptEnded:
		actions = q.found(now, ev, actions)
		actions = s.free(now, q, ev.slot, actions)
	case seenHealthy:
		q.seenHealthy(now)
	case paused:
		q.paused = true
	case resumed:
		q.resume(now)
	case revoked:
		actions = q.revoke(ev.delivery, actions)
		q.stored = true // what it held up in its lane may be due now
	}
	return s.pump(now, q, actions)
}

// reserve promises a place in the window of a destination to a message that is
// about to be committed, so that it need not be read back from the store. It
// refuses while the store holds earlier deliveries that are due, and while the
// destination is paused or down.
func (s *scheduler) reserve(destination string) bool {
	q := s.queues[destination]
	if q == nil || q.target == nil || q.paused || s.trying || s.draining || q.stored || q.claiming || q.breaker.open || q.room() <= 0 {
		return false
	}
	q.reserved++
	return true
}

// tries reports whether deliveries to a destination are tried when it is their
// turn. One that is not in force may be in a moment, as at a start.
func (s *scheduler) tries(destination string) bool {
	q := s.queues[destination]
	return !s.draining && (q == nil || !q.halted())
}

func (s *scheduler) queue(destination string) *queue {
	q := s.queues[destination]
	if q == nil {
		q = &queue{id: destination}
		s.queues[destination] = q
		s.order = append(s.order, q)
	}
	return q
}

// configure puts targets in force. A destination that is new may have
// deliveries in the store; one that has gone gives its leases back.
func (s *scheduler) configure(now time.Time, targets []*target, actions []action) []action {
	inForce := make(map[string]*target, len(targets))
	for _, t := range targets {
		inForce[t.ID] = t
		s.queue(t.ID)
	}
	for _, q := range s.order {
		q.retarget(now, inForce[q.id])
		if q.target != nil {
			q.rate.set(now.Add(-s.leapt), q.target.Rate)
		}
		actions = s.pump(now, q, actions)
	}
	return actions
}

// pump does for one destination all that can be done now.
func (s *scheduler) pump(now time.Time, q *queue, actions []action) []action {
	if !q.dueAt.IsZero() && !q.dueAt.After(now) {
		q.dueAt, q.stored = time.Time{}, true
	}
	if s.draining || q.paused || q.target == nil {
		return q.drop(actions)
	}
	actions = s.start(now, q, actions)
	if s.trying {
		return actions
	}
	if q.stored && !q.claiming && q.room() >= claimBatch {
		q.stored, q.claiming = false, true
		actions = append(actions, action{kind: startClaim, target: q.target, limit: claimBatch})
	}
	if limit := q.begin(now); limit > 0 {
		actions = append(actions, action{kind: startHasten, target: q.target, limit: limit})
	}
	s.wantWake(q.dueAt)
	if at := q.probeTime(); now.Before(at) {
		s.wantWake(at)
	}
	return actions
}

// pumpAll does for all destinations, in the order of their coming, all that can be
// done now.
func (s *scheduler) pumpAll(now time.Time, actions []action) []action {
	for _, q := range s.order {
		actions = s.pump(now, q, actions)
	}
	return actions
}

// wantWake asks for a timer at t, if there is none before it.
func (s *scheduler) wantWake(t time.Time) {
	if !t.IsZero() && (s.wakeAt.IsZero() || t.Before(s.wakeAt)) {
		s.wakeAt = t
	}
}

// arm sets the timer when the scheduler wants to be woken before it would fire.
func (s *scheduler) arm(actions []action) []action {
	if s.draining || s.wakeAt.IsZero() || !s.armedAt.IsZero() && !s.wakeAt.Before(s.armedAt) {
		return actions
	}
	s.armedAt = s.wakeAt
	return append(actions, action{kind: setTimer, at: s.wakeAt.Add(-s.behind)})
}
