// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// memoryTurn is the memory for bodies that a queue gets in one turn at most, and
// memoryTurns into how many turns all of the memory is divided at least.
const (
	memoryTurn  = 1 << 20
	memoryTurns = 8
)

// lack is what a queue has stopped for.
type lack uint8

const (
	nothing lack = iota
	// lacksMemory: the memory for bodies must become free first.
	lacksMemory
	// lacksTurn: what its turn allows is used up.
	lacksTurn
)

// hasMemory reports whether there is memory for a body of n bytes. One queue
// gets at most half of it, and one body at a time in any case, however large. If
// another destination's attempt must end first, the queue is put in line.
func (s *scheduler) hasMemory(q *queue, n int64) bool {
	switch {
	case n == 0 || q.loading == 0:
		return true
	case q.loading+n > s.memory/2:
		return false
	case s.serving == q && n > q.deficit:
		q.lacks = lacksTurn
		return false
	case s.loading+n > s.memory || s.serving != q && len(s.forMemory) > 0:
		// Who would pass by those in line because his bodies are small would have
		// them wait for ever.
		q.lacks = lacksMemory
		if !q.forMemory {
			q.forMemory = true
			s.forMemory = append(s.forMemory, q)
		}
		return false
	}
	if s.serving == q {
		q.deficit -= n
	}
	return true
}

// serve gives the memory that is free to the queues in line, by deficit round
// robin: in each turn a queue may take so many bytes more, and what a body of its
// does not fit into is left for its next turn. So all get the same memory,
// whatever the size of their bodies.
func (s *scheduler) serve(now time.Time, actions []action) []action {
	turn := max(1, min(memoryTurn, s.memory/memoryTurns))
	for fruitless := 0; len(s.forMemory) > 0; {
		first := s.forMemory[0]
		if !first.served {
			first.served = true
			first.deficit += turn
		}
		before := len(actions)
		s.serving, first.lacks = first, nothing
		actions = s.pump(now, first, actions)
		s.serving = nil
		if first.lacks == lacksMemory {
			return actions // its turn goes on when more is free
		}
		s.forMemory[0] = nil
		s.forMemory = s.forMemory[1:]
		first.served = false
		if first.lacks == nothing {
			first.forMemory, first.deficit = false, 0
			continue
		}
		s.forMemory = append(s.forMemory, first)
		// Turns that are much smaller than the bodies would be taken for a long time.
		if fruitless++; len(actions) > before {
			fruitless = 0
		} else if fruitless >= len(s.forMemory) {
			fruitless, turn = 0, 2*turn
		}
	}
	return actions
}
