// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// trouble is what is wrong with the store for a while.
type trouble struct {
	until time.Time
	// one in failing calls fails, of those one in fatal for good; 0 for none. Calls
	// take up to delay.
	failing int
	killing int
	delay   time.Duration
}

func (t *trouble) lasts(s *simulation) bool { return s.passed.Before(t.until) }

// strikes reports whether a call to the store fails.
func (t *trouble) strikes(s *simulation) bool {
	return t.lasts(s) && t.failing > 0 && s.chance(t.failing)
}

// fatal reports whether the store has failed with a call.
func (t *trouble) fatal(s *simulation) bool {
	return t.lasts(s) && t.killing > 0 && s.chance(t.killing)
}

// latency is what one way to the store takes, or back.
func (s *simulation) latency() time.Duration {
	if s.trouble.lasts(s) && s.trouble.delay > 0 {
		s.sometimes("slow store")
		return s.upTo(s.trouble.delay)
	}
	return s.upTo(10 * time.Millisecond)
}

// failsAt reports whether a call to the store fails, perhaps for good.
func (p *process) failsAt(what string) bool {
	s := p.s
	if !s.trouble.strikes(s) {
		return false
	}
	s.sometimes(what)
	if s.trouble.fatal(s) {
		p.fail()
	}
	return true
}

// fail ends the process's use of a store that has failed. It is opened again.
func (p *process) fail() {
	p.s.sometimes("store failed")
	p.quit("failed store", false, 10*time.Second)
}

// crash ends the process with all that it had in memory.
func (s *simulation) crash() {
	p := s.process
	if p == nil {
		return
	}
	s.sometimes("crash")
	if len(p.tries) > 0 {
		s.sometimes("crash with attempts under way")
	}
	if p.recording {
		s.sometimes("crash with outcomes unrecorded")
	}
	if slices.ContainsFunc(p.scheduler.order, func(q *queue) bool { return q.waiting() > 0 }) {
		s.sometimes("crash with deliveries ready")
	}
	p.quit("crash", s.chance(3), 30*time.Second)
	if s.chance(3) {
		s.stepClocks()
	}
}

// quit ends the process, and starts the next one a little later.
func (p *process) quit(why string, lingers bool, longest time.Duration) {
	s := p.s
	if p.over {
		return
	}
	s.note("process %d ends: %s\n", p.number, why)
	p.over, p.lingers = true, lingers
	s.process = nil
	s.refuse(p.entries)
	p.entries = nil
	if lingers {
		for _, r := range p.pending {
			s.after(s.upTo(time.Minute), func() { s.finishNow(r.finish) })
		}
	}
	s.after(s.upTo(longest), func() {
		if s.process == nil {
			s.boot()
		}
	})
}

// stepClocks sets the wall clock of the machine while no process runs. A store
// that is opened never goes back behind what it has written.
func (s *simulation) stepClocks() {
	s.sometimes("wall clock stepped")
	s.wall += s.upTo(4*24*time.Hour) - 2*24*time.Hour
	s.ahead += s.upTo(time.Hour)
	s.note("wall clock off by %v\n", s.wall)
}

// suspend stops the machine: everything that was to happen meanwhile happens
// when it goes on.
func (s *simulation) suspend() {
	s.sometimes("suspended")
	s.passed = s.passed.Add(s.upTo(3 * time.Hour))
	s.note("suspended\n")
	s.ledger.disturbed = s.passed
}

// stepWall sets the wall clock of the machine under the running process.
func (s *simulation) stepWall() {
	s.sometimes("wall clock stepped under way")
	s.wall += s.upTo(4*time.Hour) - 2*time.Hour
	s.note("wall clock off by %v\n", s.wall)
	s.ledger.disturbed = s.passed
	s.ledger.stepped = s.passed
}

// pause pauses a destination, and resume has it go on.
func (s *simulation) pause() {
	if u := s.receivers[s.random.IntN(len(s.receivers))]; !u.paused && s.process != nil {
		s.note("%s is paused\n", u.name)
		u.paused, u.changed = true, s.passed
		s.process.post(event{kind: paused, destination: u.name})
		s.after(s.upTo(3*time.Hour), func() { s.resume(u) })
	}
}

func (s *simulation) resume(u *receiver) {
	if !u.paused {
		return
	}
	s.sometimes("paused and resumed")
	u.paused, u.changed = false, s.passed
	s.ledger.reloaded(u)
	if s.process != nil {
		s.process.post(event{kind: resumed, destination: u.name})
	}
}

// stop ends the process as an operator does.
func (s *simulation) stop() {
	p := s.process
	if p == nil || p.draining {
		return
	}
	s.note("process %d is stopped\n", p.number)
	p.draining = true
	p.post(event{kind: drainBegan})
	s.after(s.upTo(8*time.Second), p.cut)
	p.settle()
}

// cut cuts off the attempts that still run at the end of the grace period.
func (p *process) cut() {
	if p.over || len(p.tries) == 0 {
		return
	}
	p.s.sometimes("stopped with attempts cut off")
	p.cutOff = true
	for _, t := range slices.Clone(p.tries) {
		t.result = Result{Outcome: store.Unreachable}
		p.end(t)
	}
}

// settle ends a process that is being stopped once nothing is under way.
func (p *process) settle() {
	s := p.s
	if !p.draining || p.over || p.scheduler.running > 0 || p.fetching > 0 || p.committing || p.recording {
		return
	}
	s.sometimes("stopped")
	s.ledger.stopped(p)
	p.quit("stop", false, 30*time.Second)
}

// reload puts a configuration in force, while there are faults one in which some
// of the destinations may be missing.
func (s *simulation) reload() {
	p := s.process
	if p == nil || p.draining {
		return
	}
	s.sometimes("reload")
	var targets []*target
	for _, u := range s.receivers {
		if q := p.scheduler.queues[u.name]; q != nil && q.breaker.open {
			s.sometimes("reload while a breaker is open")
		}
		was := u.inForce
		u.inForce, u.changed = nil, s.passed
		if !s.faults || !s.chance(5) {
			u.inForce = u.target(s)
			targets = append(targets, u.inForce)
		}
		if was != nil && u.inForce == nil {
			s.sometimes("destination vanished")
		} else if was == nil && u.inForce != nil && p.scheduler.queues[u.name] != nil {
			s.sometimes("destination came back")
		}
		s.ledger.reloaded(u)
	}
	p.budget.SetLimit(s.memory)
	p.post(event{kind: configured, targets: targets, memory: s.memory})
}

// operate does what an operator does to some delivery.
func (s *simulation) operate() {
	if s.process == nil || len(s.ledger.order) == 0 {
		return
	}
	recent := s.ledger.order
	if s.chance(2) {
		recent = recent[max(0, len(recent)-20):]
	}
	f := recent[s.random.IntN(len(recent))]
	leased := f.epoch > 0
	switch s.random.IntN(4) {
	case 0:
		if d, err := s.disk.Redrive(s.t.Context(), f.id); err == nil {
			s.ledger.reopened(&d)
			s.operated("redriven", f, false)
		}
	case 1:
		if d, err := s.disk.Replay(s.t.Context(), f.id.Message, f.destination); err == nil {
			s.ledger.made(&d)
			s.operated("replayed", f, false)
		}
	case 2:
		s.cancel(f, leased)
	case 3:
		if err := s.disk.Delete(s.t.Context(), f.id.Message); err == nil {
			s.ledger.deleted(f.id.Message)
			s.operated("deleted", f, leased)
		}
	}
}

// cancel cancels a delivery that is open, or holds its lane.
func (s *simulation) cancel(f *fate, leased bool) {
	if _, err := s.disk.Cancel(s.t.Context(), f.id); err != nil {
		return
	}
	f.epoch, f.ended, f.holds = 0, true, false
	s.operated("canceled", f, leased)
}

// operated tells the scheduler that deliveries may be due now: this one, or those
// behind it or its siblings.
func (s *simulation) operated(what string, f *fate, leased bool) {
	s.note("%s %s\n", what, f.id)
	s.sometimes(what)
	if leased {
		s.sometimes(what + " while leased")
	}
	for _, sibling := range s.ledger.messages[f.id.Message] {
		s.process.post(event{kind: becameStored, destination: sibling.destination})
	}
}
