// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

const (
	// maxRunning bounds the attempts that run at once over all destinations, but
	// for the share of each.
	maxRunning = 1024

	// slotShare is how many attempts of one destination may run whatever the others
	// do, and slotsMost how many of the engine's slots it may hold at most.
	slotShare = 8
	slotsMost = maxRunning / 2

	// unknownSize is the memory for a body whose size the store does not know.
	unknownSize = 1 << 20
)

// slot is what an attempt under way takes.
type slot struct {
	// probe says that it probes a destination that is down, outage is the breaker's
	// at that time.
	probe  bool
	outage uint64

	// turn is the number of the destination's configuration that it was begun with.
	turn uint64

	// round is the round of the destination's pace that it was begun in.
	round uint64

	// retry says that the delivery has failed before.
	retry bool

	// loaded is the memory for a body that it reads from the store, 0 where the
	// message is in memory.
	loaded int64
}

// loads returns the memory that it takes for a body that must be read.
func (j *leased) loads() int64 {
	switch {
	case j.hold != nil:
		return 0
	case j.delivery.BodySize > 0:
		return j.delivery.BodySize
	default:
		return unknownSize
	}
}

// start starts attempts as far as the breaker, the rate, the slots of the
// destination and those of the engine, and the memory for bodies go.
func (s *scheduler) start(now time.Time, q *queue, actions []action) []action {
	q.lacks = nothing
	for q.breaker.allow(now, q.pace.limit-q.running) > 0 {
		from := q.next()
		if from == nil || !s.inTime(now, q) || !s.hasSlot(q) || !s.hasMemory(q, from.first().loads()) {
			break
		}
		j := from.pop()
		j.slot.probe, j.slot.loaded, j.slot.turn, j.slot.round = q.breaker.open, j.loads(), q.turn, q.pace.round
		j.slot.outage = q.breaker.outage
		q.breaker.probing = j.slot.probe
		if q.rate.limit.bounds() {
			q.rate.take(now.Add(-s.leapt))
		}
		s.take(q, j.slot, 1)
		actions = append(actions, action{kind: startAttempt, target: q.target, leased: j})
	}
	if q.rate.limit.bounds() {
		// So long a step of the clock must be noticed.
		s.wantWake(after(q.rate.ends(now.Add(-s.leapt)), s.leapt))
	}
	return actions
}

// inTime reports whether the rate of the queue lets an attempt start now.
func (s *scheduler) inTime(now time.Time, q *queue) bool {
	if !q.rate.limit.bounds() {
		return true
	}
	at := q.rate.next(now.Add(-s.leapt)).Add(s.leapt)
	if !at.After(now) {
		return true
	}
	s.wantWake(at)
	return false
}

// hasSlot reports whether the engine has a slot for the queue. If another
// destination's attempt must end first, the queue is put in line for that.
func (s *scheduler) hasSlot(q *queue) bool {
	switch {
	case q.running < slotShare:
		return true
	case q.running >= slotsMost:
		return false
	case s.running >= maxRunning:
		if !q.forSlots {
			q.forSlots = true
			s.forSlots = append(s.forSlots, q)
		}
		return false
	default:
		return true
	}
}

// take counts n more attempts with a slot, or fewer.
func (s *scheduler) take(q *queue, sl slot, n int) {
	q.running += n
	s.running += n
	q.loading += sl.loaded * int64(n)
	s.loading += sl.loaded * int64(n)
	if sl.retry {
		q.retrying += n
	}
}

// free takes back what an attempt took and gives it to the queues whose turn it
// is. A slot at a time goes round among them, which a queue passes on where it has
// no use for it any more.
func (s *scheduler) free(now time.Time, q *queue, sl slot, actions []action) []action {
	s.take(q, sl, -1)
	for len(s.forSlots) > 0 && s.running < maxRunning {
		first := s.forSlots[0]
		s.forSlots[0] = nil
		s.forSlots = s.forSlots[1:]
		first.forSlots = false
		actions = s.pump(now, first, actions)
	}
	if sl.loaded > 0 {
		actions = s.serve(now, actions)
	}
	return actions
}
