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
	// probe says that it probes a destination that is down.
	probe bool

	// turn is the number of the destination's configuration that it was begun with.
	turn uint64

	// retry says that the delivery has failed before.
	retry bool

	// loaded is the memory for a body that it reads from the store, 0 where the
	// message is in memory.
	loaded int64
}

// loads returns the memory that a job takes for a body that must be read.
func (j *job) loads() int64 {
	switch {
	case j.hold != nil:
		return 0
	case j.delivery.BodySize > 0:
		return j.delivery.BodySize
	default:
		return unknownSize
	}
}

// start starts attempts as far as the breaker, the slots of the destination and
// those of the engine, and the memory for bodies go.
func (s *scheduler) start(now time.Time, q *queue, actions []action) []action {
	for q.breaker.allow(now, q.target.MaxInFlight-q.running) > 0 {
		from := q.next()
		if from == nil || !s.hasSlot(q) || !s.hasMemory(q, from.first().loads()) {
			return actions
		}
		j := from.pop()
		j.slot.probe, j.slot.loaded, j.slot.turn = q.breaker.open, j.loads(), q.turn
		q.breaker.probing = j.slot.probe
		s.take(q, j.slot, 1)
		actions = append(actions, action{kind: startAttempt, target: q.target, job: j})
	}
	return actions
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

// hasMemory reports whether there is memory for a body of n bytes. One queue
// gets at most half of it, and one body at a time in any case, however large. If
// another destination's attempt must end first, the queue is put in line.
func (s *scheduler) hasMemory(q *queue, n int64) bool {
	switch {
	case n == 0 || q.loading == 0:
		return true
	case q.loading+n > s.memory/2:
		return false
	case s.loading+n > s.memory:
		if !q.forMemory {
			q.forMemory = true
			s.forMemory = append(s.forMemory, q)
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
// is, which pass it on where they have no use for it any more.
func (s *scheduler) free(now time.Time, q *queue, sl slot, actions []action) []action {
	s.take(q, sl, -1)
	for len(s.forSlots) > 0 && s.running < maxRunning {
		first := s.forSlots[0]
		s.forSlots[0] = nil
		s.forSlots = s.forSlots[1:]
		first.forSlots = false
		actions = s.pump(now, first, actions)
	}
	for sl.loaded > 0 && len(s.forMemory) > 0 {
		first := s.forMemory[0]
		if from := first.next(); from != nil && first.loading > 0 && s.loading+from.first().loads() > s.memory {
			break
		}
		s.forMemory[0] = nil
		s.forMemory = s.forMemory[1:]
		first.forMemory = false
		actions = s.pump(now, first, actions)
	}
	return actions
}
