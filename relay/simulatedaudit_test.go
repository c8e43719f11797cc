// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// auditEvery is how often it is looked at what has not happened.
	auditEvery = 2 * time.Hour

	// auditAfter is how long things must have been undisturbed for that.
	auditAfter = 2 * time.Minute

	// lateAfter is how long a delivery may be due while slots are free, and
	// starvedAfter how long in any case.
	lateAfter    = 30 * time.Second
	starvedAfter = 30 * time.Minute
)

// check looks at what must hold after every step.
func (l *ledger) check(p *process) {
	s, c := l.s, p.scheduler
	total, loading := 0, int64(0)
	for _, u := range s.receivers {
		t, q := l.tally(u.name), c.queues[u.name]
		if q == nil {
			continue
		}
		total += t.running
		loading += t.loading
		if q.waiting() != t.ready || q.reserved != t.reserved || q.running != t.running || q.retrying != t.retrying || q.loading != t.loading {
			s.violated("%s counts %d ready, %d reserved, %d running, %d of them retries, %d bytes; there are %+v",
				u.name, q.waiting(), q.reserved, q.running, q.retrying, q.loading, *t)
		}
		if n := t.ready + t.reserved; n > readyWindow || t.reserved < 0 {
			s.violated("%s has %d deliveries in memory", u.name, n)
		}
		if t.ready > 0 && (!u.mayTry() || p.draining) {
			s.violated("%s has %d deliveries ready, but may try none", u.name, t.ready)
		}
		if t.running > slotsMost && t.running > slotShare {
			s.violated("%s has %d of the engine's slots", u.name, t.running)
		}
		if at := q.dueAt; u.mayTry() && !p.draining && !at.IsZero() && (p.timerAt.IsZero() || p.timerAt.After(at)) {
			s.violated("%s has something due at %v, and the timer is set to %v", u.name, at, p.timerAt)
		}
	}
	if total >= maxRunning {
		s.sometimes("slots of the engine taken")
	}
	if len(c.forMemory) > 0 {
		s.sometimes("waits for memory")
	}
	if n := len(s.receivers); total > maxRunning+slotShare*n || loading > s.memory+int64(n)*simulatedBody {
		s.violated("%d attempts run, %d bytes are loaded", total, loading)
	}
	if p.budget.Used() > s.memory {
		s.violated("%d bytes are held", p.budget.Used())
	}
}

// stopped looks at what a process leaves that was stopped.
func (l *ledger) stopped(p *process) {
	for _, f := range l.order {
		if f.epoch != 0 {
			l.s.violated("%s is still leased by a process that has stopped", f.id)
		}
		if !f.ended && f.hearer == p.number && f.heard == f.generation+1 {
			l.s.violated("%s is open after its 2xx and a clean stop", f.id)
		}
	}
	if used := p.budget.Used(); used != 0 {
		l.s.violated("%d bytes are held by a process that has stopped", used)
	}
}

// audit looks at what should have happened by now, and will again.
func (s *simulation) audit() {
	s.after(auditEvery/2+s.upTo(auditEvery), s.audit)
	s.look()
}

// lookSoon has it be looked at within a few minutes.
func (s *simulation) lookSoon() {
	for range 4 {
		s.after(s.upTo(3*auditAfter), s.look)
	}
}

// look looks at what should have happened by now.
func (s *simulation) look() {
	books, err := s.disk.Books(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, u := range s.receivers {
		if b := books[u.name]; !b.Balanced() {
			s.violated("books of %s do not balance: %+v", u.name, b)
		}
	}
	p := s.process
	if p == nil || p.draining {
		return
	}
	for _, u := range s.receivers {
		t := s.ledger.tally(u.name)
		calm := u.since
		for _, disturbed := range []time.Time{u.changed, s.ledger.disturbed, s.trouble.until, t.asked, p.began} {
			if disturbed.After(calm) {
				calm = disturbed
			}
		}
		if u.phase == well && u.mayTry() && s.passed.Sub(calm) > auditAfter && books[u.name].Open > 0 {
			s.auditDestination(p, u, t, calm)
		}
	}
}

// auditDestination looks at a destination that has been well and undisturbed
// since calm.
func (s *simulation) auditDestination(p *process, u *receiver, t *tally, calm time.Time) {
	q := p.scheduler.queues[u.name]
	now := s.diskNow()
	for _, state := range []store.State{store.Pending, store.Waiting, store.Leased} {
		list, err := s.disk.ListDeliveries(s.t.Context(), store.DeliveryQuery{Destination: u.name, State: state, Limit: 1 << 30})
		if err != nil {
			s.t.Fatal(err)
		}
		list = slices.DeleteFunc(list, func(d store.Delivery) bool { return d.Blocked() })
		if len(list) > 0 && q.breaker.open {
			s.violated("%s is well since %v ago and not found to be, %d deliveries are %s", u.name, s.passed.Sub(calm), len(list), state)
		}
		for i := range list {
			d := &list[i]
			f := s.ledger.fates[d.ID]
			late := min(now.Sub(d.DueAt), s.passed.Sub(calm))
			switch {
			case state == store.Leased && f.place == ready:
				late = min(s.passed.Sub(f.since), s.passed.Sub(calm))
			case state == store.Leased:
				continue
			case state == store.Waiting && d.DueAt.After(now):
				if !t.returned.IsZero() && s.passed.Sub(t.returned) > auditAfter {
					s.sometimes("looked at what waits after a return")
				}
				if !t.returned.IsZero() && s.passed.Sub(t.returned) > auditAfter && f.failed.Before(t.returned) {
					s.violated("%s was back %v ago, and %s waits for another %v", u.name, s.passed.Sub(t.returned), d.ID, d.DueAt.Sub(now))
				}
				continue
			}
			if late > lateAfter {
				s.sometimes("due while all slots are taken")
			} else {
				s.sometimes("due and not late")
			}
			if late > starvedAfter || late > lateAfter && !s.busy(p, u, t) {
				s.violated("%s is %s and due since %v, %s has %+v", d.ID, state, late, u.name, *t)
			}
		}
	}
}

// busy reports whether a destination has all the slots or memory that it can
// have.
func (s *simulation) busy(p *process, u *receiver, t *tally) bool {
	memory := t.loading > 0 && (t.loading+simulatedBody > s.memory/2 || p.scheduler.loading+simulatedBody > s.memory)
	limit := p.scheduler.queues[u.name].pace.limit
	half := (limit + 1) / 2
	if rate := u.inForce.Rate; rate.bounds() {
		return true
	}
	return t.running >= min(limit, slotsMost) || p.scheduler.running >= maxRunning || memory || t.retrying >= half
}

// balance looks at what is left when all must have ended.
func (l *ledger) balance() {
	s := l.s
	if s.process == nil || s.process.scheduler.running > 0 {
		s.violated("the process does not run, or counts attempts, in the end")
	}
	open := 0
	for _, f := range l.order {
		if !f.ended {
			open++
			s.note("left: %s to %s at %d under epoch %d\n", f.id, f.destination, f.place, f.epoch)
		}
	}
	if open > 0 {
		s.violated("%d of %d deliveries have not come to an end", open, len(l.order))
	}
	if used := s.process.budget.Used(); used != 0 {
		s.violated("%d bytes are held in the end", used)
	}
	books, err := s.disk.Books(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var made uint64
	for _, u := range s.receivers {
		b := books[u.name]
		if made += b.Made; !b.Balanced() || b.Open > 0 || b.OpenBytes > 0 {
			s.violated("books of %s in the end: %+v", u.name, b)
		}
	}
	if made != uint64(len(l.order)) {
		s.violated("%d deliveries are in the books, %d were made", made, len(l.order))
	}
}
