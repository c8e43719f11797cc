// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// errSimulated is what the store answers when it is in trouble.
var errSimulated = errors.New("simulated trouble")

// process is one life of the engine: a scheduler, and around it what carries out
// its actions, in simulated time and without goroutines.
type process struct {
	s         *simulation
	number    int
	began     time.Time
	scheduler *scheduler
	budget    *Budget

	// timer numbers the timers that were set, of which the last one counts; timerAt
	// is when the scheduler is to be woken by it, by the scheduler's steady time.
	timer   int
	timerAt time.Time

	tries     []*try
	hastening map[string]bool
	claiming  map[string]bool
	lanes     map[lane][]action // those that wait for the first of each
	fetching  int               // claims and hastens under way

	entries    []*arrival
	committing bool

	pending   []record
	recording bool

	draining bool
	cutOff   bool
	over     bool
	// lingers says that the process does not know that it is over: it was paused,
	// and what it knows still comes to the store.
	lingers bool
}

// try is an attempt under way.
type try struct {
	action  action
	message *store.Message
	result  Result
	started time.Time
	ended   bool
}

// boot starts a process. Leases end with the process that held them.
func (s *simulation) boot() {
	leased, err := s.disk.ListDeliveries(s.t.Context(), store.DeliveryQuery{State: store.Leased, Limit: 1 << 30})
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range leased {
		s.finishNow(store.Finish{Lease: leased[i].Lease(), State: store.Pending})
	}
	s.ledger.forget()
	s.processes++
	s.note("process %d, %d leases have ended", s.processes, len(leased))
	s.process = &process{
		s: s, number: s.processes, began: s.passed, scheduler: newScheduler(), budget: NewBudget(s.memory),
		hastening: make(map[string]bool), claiming: make(map[string]bool),
		lanes: make(map[lane][]action),
	}
	for _, u := range s.receivers {
		if u.paused {
			s.process.post(event{kind: paused, destination: u.name})
		}
	}
	s.reload()
}

// finishNow commits one outcome at once.
func (s *simulation) finishNow(f store.Finish) store.Finished {
	finished, err := s.disk.Finish(s.t.Context(), []store.Finish{f})
	if err != nil {
		s.t.Fatal(err)
	}
	s.ledger.finished(f, finished[0])
	return finished[0]
}

// post takes one step of the scheduler, sets off what it decides and looks at
// what must hold.
func (p *process) post(ev event) {
	if p.over {
		return
	}
	s := p.s
	s.steps++
	s.ledger.posted(ev)
	actions := p.scheduler.step(s.now(), ev, nil)
	for _, a := range actions {
		s.note("%s\n", a.text(s.now()))
		p.perform(a)
	}
	s.ledger.check(p)
}

func (p *process) perform(a action) {
	s := p.s
	switch a.kind {
	case startAttempt:
		s.ledger.started(p, a)
		p.inLane(a)
	case startClaim:
		p.claim(a)
	case startHasten:
		p.hasten(a)
	case releaseLease:
		s.sometimes("lease given back")
		s.ledger.released(a.leased)
		a.leased.hold.drop()
		p.record(record{finish: store.Finish{Lease: a.leased.delivery.Lease(), State: store.Pending}})
	case setTimer:
		p.setTimer(a.at)
	case tellDown:
		s.sometimes("breaker opened")
	case tellUp:
		s.ledger.returned(a.target.ID)
	}
}

// setTimer sets the timer.
func (p *process) setTimer(at time.Time) {
	s := p.s
	p.timer++
	p.timerAt = at.Add(p.scheduler.behind)
	number, d := p.timer, max(0, at.Sub(s.now()))
	s.after(d, func() {
		if number == p.timer && !p.over {
			p.timerAt = time.Time{}
			p.post(event{kind: timerFired})
		}
	})
}

// inLane makes an attempt once no other one of its lane is under way, unless its
// lease is lost by then.
func (p *process) inLane(a action) {
	s, l := p.s, lane{a.target.ID, a.leased.delivery.OrderKey}
	if a.leased.delivery.Place == 0 {
		p.attempt(a)
		return
	}
	if p.lanes[l] = append(p.lanes[l], a); len(p.lanes[l]) > 1 {
		s.sometimes("waits for another attempt of its lane")
		return
	}
	p.enterLane(a)
}

func (p *process) enterLane(a action) {
	s := p.s
	lost, err := s.disk.Extend(s.t.Context(), []store.Lease{a.leased.delivery.Lease()}, leaseForever)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(lost) > 0 {
		s.sometimes("lease lost before its lane was free")
		s.after(0, func() {
			if !p.over {
				p.attemptEnded(a, Result{}, unknown)
			}
		})
		return
	}
	s.ledger.inLane(a.leased)
	p.attempt(a)
}

// leaveLane lets the next attempt of a lane go.
func (p *process) leaveLane(a action) {
	l := lane{a.target.ID, a.leased.delivery.OrderKey}
	if waiting := p.lanes[l]; len(waiting) > 0 && waiting[0].leased == a.leased {
		if p.lanes[l] = waiting[1:]; len(p.lanes[l]) > 0 {
			p.enterLane(p.lanes[l][0])
		}
	}
}

// attempt makes an attempt, as the dispatcher does.
func (p *process) attempt(a action) {
	s := p.s
	message, err := p.load(a.leased)
	if err != nil {
		s.after(s.latency(), func() {
			if p.over {
				return
			}
			if errors.Is(err, errSimulated) {
				s.sometimes("load failed")
				delay := retry.Jitter(loadRetry, seed(&a.leased.delivery))
				p.record(record{finish: store.Finish{Lease: a.leased.delivery.Lease(), State: store.Waiting, Delay: delay}})
			}
			p.attemptEnded(a, Result{}, unknown)
		})
		return
	}
	r, took := s.receiver(a.target.ID).answer(s, a.target)
	t := &try{action: a, message: message, result: r, started: s.now()}
	p.tries = append(p.tries, t)
	s.after(took, func() { p.end(t) })
}

func (p *process) load(j *leased) (*store.Message, error) {
	if j.hold != nil {
		return j.hold.message, nil
	}
	if p.s.trouble.strikes(p.s) {
		return nil, errSimulated
	}
	p.s.sometimes("read from the store")
	return p.s.disk.Message(p.s.t.Context(), j.delivery.ID.Message)
}

// end records what came of an attempt. Of a process that is over nothing more is
// heard, unless it lingers; the receiver has had the request all the same.
func (p *process) end(t *try) {
	s, j := p.s, t.action.leased
	if t.ended {
		return
	}
	t.ended = true
	p.tries = slices.DeleteFunc(p.tries, func(other *try) bool { return other == t })
	if p.over && !p.lingers {
		return
	}
	r := t.result.checked(p.cutOff)
	s.outcomeNoted(r)
	age := s.diskNow().Sub(j.delivery.Since)
	finish, counts := conclude(t.action.target, &j.delivery, r, t.started, s.now(), age)
	if !counts {
		finish.Attempt = nil
	}
	if p.over {
		s.after(s.latency(), func() { s.finishNow(finish) })
		return
	}
	if r.Outcome == store.Succeeded {
		s.ledger.heard(p, j)
	}
	if finish.State == store.Dead {
		if r.Status == 410 {
			s.sometimes("dead at once")
		} else {
			s.sometimes("dead in the end")
		}
	}
	p.record(record{finish: finish, destination: t.action.target.ID})
	p.attemptEnded(t.action, r, conditionOf(r))
}

func (p *process) attemptEnded(a action, r Result, found condition) {
	p.s.ledger.ended(p, a)
	p.leaveLane(a)
	a.leased.hold.drop()
	inForce := p.s.ledger.tells(a, found, r.RetryAfter)
	p.post(event{kind: attemptEnded, destination: a.target.ID, slot: a.leased.slot, found: found, later: r.RetryAfter})
	if inForce {
		p.s.ledger.breaker(p, a, found)
	}
	p.settle()
}

// claim fetches deliveries, as the dispatcher does.
func (p *process) claim(a action) {
	s, id := p.s, a.target.ID
	if p.claiming[id] || p.draining || a.limit > claimBatch || !s.receiver(id).mayTry() {
		s.violated("%s: claims %d while claiming %v, draining %v", id, a.limit, p.claiming[id], p.draining)
	}
	p.claiming[id] = true
	p.fetching++
	answer := func(claimed store.Claimed, err error) {
		s.after(s.latency(), func() {
			if !claimed.Next.IsZero() {
				claimed.Next = s.now().Add(claimed.Next.Sub(s.diskNow()))
			}
			p.claiming[id] = false
			p.fetching--
			p.post(event{kind: claimEnded, destination: id, claimed: claimed, err: err})
			p.settle()
		})
	}
	s.after(s.latency(), func() {
		if p.over {
			return
		}
		if p.failsAt("claim failed") {
			answer(store.Claimed{}, errSimulated)
			return
		}
		claimed, err := s.disk.Claim(s.t.Context(), store.ClaimRequest{Destination: id, Limit: a.limit, Lease: leaseForever})
		if err != nil {
			s.t.Fatal(err)
		}
		for i := range claimed.Deliveries {
			s.ledger.leased(&claimed.Deliveries[i])
		}
		answer(claimed, nil)
	})
}

// hasten makes waiting deliveries due, as the dispatcher does.
func (p *process) hasten(a action) {
	s, id := p.s, a.target.ID
	if p.hastening[id] || p.draining || !s.receiver(id).mayTry() {
		s.violated("%s: hastens while hastening %v, draining %v", id, p.hastening[id], p.draining)
	}
	p.hastening[id] = true
	p.fetching++
	ended := event{kind: hastenEnded, destination: id}
	end := func() {
		p.hastening[id] = false
		p.fetching--
		p.post(ended)
		p.settle()
	}
	var round func()
	round = func() {
		if p.over {
			return
		}
		if p.failsAt("hasten failed") {
			ended.err = errSimulated
			s.after(s.latency(), end)
			return
		}
		n, err := s.disk.Hasten(s.t.Context(), id, a.limit)
		if err != nil {
			s.t.Fatal(err)
		}
		if ended.count += n; n < hastenBatch || p.draining {
			s.after(s.latency(), end)
			return
		}
		p.post(event{kind: becameStored, destination: id})
		s.after(s.latency(), round)
	}
	if a.limit > 1 {
		s.sometimes("hastened on return")
		s.after(2*finishDelay+s.latency(), round)
	} else {
		s.sometimes("hastened for a probe")
		s.after(s.latency(), round)
	}
}

// record takes an outcome, to be committed together with others.
func (p *process) record(r record) {
	p.pending = append(p.pending, r)
	if !p.recording {
		p.recording = true
		p.s.after(finishDelay, p.flush)
	}
}

// flush commits outcomes, as the finisher does.
func (p *process) flush() {
	s := p.s
	batch := p.pending[:min(len(p.pending), finishBatch)]
	p.pending = p.pending[len(batch):]
	if len(batch) == 0 || p.over {
		p.recording = false
		p.settle()
		return
	}
	s.after(s.latency(), func() { p.commitOutcomes(batch) })
}

func (p *process) commitOutcomes(batch []record) {
	s := p.s
	if p.over {
		return
	}
	if p.failsAt("finish failed") {
		s.after(finishRetry, func() { p.commitOutcomes(batch) })
		return
	}
	finishes := make([]store.Finish, len(batch))
	for i := range batch {
		finishes[i] = batch[i].finish
	}
	finished, err := s.disk.Finish(s.t.Context(), finishes)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range finished {
		s.ledger.finished(finishes[i], finished[i])
	}
	s.after(s.latency(), func() {
		for i := range finished {
			if finished[i].Released {
				s.sometimes("next of a lane released")
				p.post(event{kind: becameStored, destination: finished[i].Delivery.Destination})
			}
			if d := &finished[i].Delivery; finished[i].Err == nil && d.State == store.Waiting {
				p.post(event{kind: becameWaiting, destination: d.Destination, at: s.now().Add(finishes[i].Delay)})
			} else if finished[i].Err == nil && d.State == store.Pending {
				p.post(event{kind: becameStored, destination: d.Destination})
			}
		}
		p.flush()
	})
}
