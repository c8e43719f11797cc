// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// plan decides when what happens in the week: in some episodes that much falls
// into, so that it meets.
func (s *simulation) plan() {
	for range 3 + s.random.IntN(5) {
		at := s.upTo(simulatedTime)
		s.after(at, func() { s.episode(time.Minute + s.upTo(time.Hour)) })
	}
	for range 3 {
		s.after(s.upTo(simulatedTime), func() { s.burst(500, 10*time.Second) })
	}
	s.after(time.Hour, s.purge)
	s.after(auditEvery, s.audit)
}

// episode lets a lot happen in a while.
func (s *simulation) episode(length time.Duration) {
	s.note("episode of %v\n", length)
	some := func(most int, do func()) {
		for range s.random.IntN(most + 1) {
			s.after(s.upTo(length), func() {
				if s.faults {
					do()
				}
			})
		}
	}
	some(6, func() { s.burst(1+s.random.IntN([]int{60, 60, 60, 500}[s.random.IntN(4)]), time.Minute) })
	if s.crowded {
		some(1, s.crowd)
	}
	some(2*len(s.receivers), s.change)
	some(2, s.troubleStore)
	some(3, s.crash)
	some(2, s.stop)
	some(3, s.reload)
	some(1, s.suspend)
	some(2, s.pause)
	some(2, s.stepWall)
	some(30, s.operate)
	some(40, s.repeat)
	s.after(length, func() {
		if s.chance(4) {
			return // it takes longer
		}
		for _, u := range s.receivers {
			u.turn(s, well)
			s.resume(u)
		}
	})
}

// burst sends events within a moment.
func (s *simulation) burst(n int, longest time.Duration) {
	spread := time.Second + s.upTo(longest)
	for range n {
		s.after(s.upTo(spread), s.send)
	}
	s.lookSoon()
}

// crowd sends more than the engine has slots for, while everything is slow.
func (s *simulation) crowd() {
	for _, u := range s.receivers {
		u.turn(s, sluggish)
	}
	if s.chance(2) {
		s.trouble = trouble{until: s.passed.Add(time.Minute), delay: 5 * time.Second}
	}
	s.burst(6000, 20*time.Second)
}

// change turns a receiver, for three hours at most.
func (s *simulation) change() {
	u := s.receivers[s.random.IntN(len(s.receivers))]
	u.turn(s, phase(s.random.IntN(int(phases))))
	s.after(s.upTo(3*time.Hour), func() { u.turn(s, well) })
}

// troubleStore puts the store in trouble for up to a minute.
func (s *simulation) troubleStore() {
	s.trouble = trouble{until: s.passed.Add(s.upTo(time.Minute))}
	if !s.chance(3) {
		s.trouble.failing = 1 + s.random.IntN(10)
	}
	if s.chance(2) {
		s.trouble.killing = 10
	}
	if s.chance(2) {
		s.trouble.delay = 10*time.Millisecond + s.upTo(5*time.Second)
	}
	s.note("trouble %+v\n", s.trouble)
}

// repeat sends an event once more that was answered.
func (s *simulation) repeat() {
	if n := len(s.senders.answered); n > 0 {
		again := *s.senders.answered[s.random.IntN(n)]
		again.tries = 0
		s.arrive(&again)
	}
}

// purge removes what has outlived its time, as the janitor does.
func (s *simulation) purge() {
	req := store.PurgeRequest{Finished: 12 * time.Hour, Dead: 48 * time.Hour, DedupeWindow: simulatedWindow}
	if _, err := s.disk.Purge(s.t.Context(), req); err != nil {
		s.t.Fatal(err)
	}
	s.after(6*time.Hour, s.purge)
}
