// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// ledger knows what the engine must do, by what it was told and nothing else.
type ledger struct {
	s         *simulation
	fates     map[store.DeliveryID]*fate
	order     []*fate
	messages  map[store.MessageID][]*fate
	keys      map[store.DedupeKey]*store.Accepted
	lanes     map[lane][]*fate
	tallies   map[string]*tally
	disturbed time.Time
	stepped   time.Time // when the wall clock was last set under way
}

// fate is what has become of a delivery.
type fate struct {
	id          store.DeliveryID
	destination string
	generation  uint32
	// epoch is that of the lease in force, 0 for none.
	epoch uint64
	ended bool

	// lane is the one that it is in, holds says that it is dead and keeps that
	// closed.
	lane  *lane
	holds bool

	// place is where the lease is within the process, since when.
	place place
	since time.Time

	// delivered is the generation, counted from 1, whose delivery the store knows of,
	// heard the one whose 2xx has come to process hearer.
	delivered uint32
	heard     uint32
	hearer    int

	// failed is when it last began to wait.
	failed time.Time
}

// place is where a lease is within a process.
type place int

const (
	nowhere place = iota
	coming
	ready
	running
	leaving
)

// tally is what a process has for a destination.
type tally struct {
	ready, reserved, running, retrying int
	loading                            int64
	// probe is the one under way since the breaker opened.
	probe *leased
	// downs counts the attempts in a row that have found the destination down.
	downs int
	// probeAt is when it may be probed again, asked until when it wants to be left
	// alone, returned when it was last found to be back.
	// starts are when attempts were started since rate is in force, as far as the
	// window goes.
	starts   []time.Time
	rate     RateLimit
	probeAt  time.Time
	asked    time.Time
	returned time.Time
}

func newLedger(s *simulation) *ledger {
	return &ledger{
		s: s, fates: make(map[store.DeliveryID]*fate), messages: make(map[store.MessageID][]*fate),
		keys: make(map[store.DedupeKey]*store.Accepted), tallies: make(map[string]*tally),
		lanes: make(map[lane][]*fate),
	}
}

// tally returns the tally of a destination.
func (l *ledger) tally(name string) *tally {
	t := l.tallies[name]
	if t == nil {
		t = new(tally)
		l.tallies[name] = t
	}
	return t
}

// forget notes that a process has ended with all that it had.
func (l *ledger) forget() {
	clear(l.tallies)
	l.disturbed = l.s.passed
	for _, f := range l.order {
		f.place = nowhere
	}
}

// accepted notes an answer of the store to an acceptance.
func (l *ledger) accepted(asked *store.Acceptance, got *store.Accepted) {
	s := l.s
	s.sometimes(verdictsInWords[got.Verdict])
	before := l.keys[asked.Key]
	valid := before != nil && asked.Key != store.DedupeKey{} && s.diskNow().Sub(before.AcceptedAt) < simulatedWindow
	switch fresh := got.Verdict == store.Fresh; {
	case fresh && valid:
		s.violated("event of message %s was accepted once more as %s", before.Message, got.Message)
	case !fresh && (before == nil || before.Message != got.Message):
		s.violated("an event is a duplicate of %s, which it is not", got.Message)
	case fresh:
		l.keys[asked.Key] = got
		l.messages[got.Message] = nil
	}
	for i := range got.Deliveries {
		d := &got.Deliveries[i]
		if got.Verdict == store.DuplicateRedriven {
			l.reopened(d)
			continue
		}
		f := l.made(d)
		if got.Verdict == store.Fresh && d.OrderKey != "" {
			f.lane = &lane{d.Destination, d.OrderKey}
			l.lanes[*f.lane] = append(l.lanes[*f.lane], f)
		}
		if d.State == store.Leased {
			l.leased(d)
		}
	}
}

var verdictsInWords = [...]string{
	store.Fresh: "fresh", store.DuplicateOpen: "duplicate of an open message", store.DuplicateDelivered: "duplicate of a delivered message",
	store.DuplicateRedelivered: "duplicate redelivered", store.DuplicateRedriven: "duplicate redriven", store.DuplicatePurged: "duplicate after purge",
}

// answered notes that a sender got its 2xx.
func (l *ledger) answered(a *arrival, got *store.Accepted) {
	if _, ok := l.messages[got.Message]; !ok {
		l.s.violated("a 2xx for %s, which was not stored", a.message.ID)
	}
}

func (l *ledger) made(d *store.Delivery) *fate {
	f := &fate{id: d.ID, destination: d.Destination, generation: d.Generation}
	l.fates[d.ID] = f
	l.order = append(l.order, f)
	l.messages[d.ID.Message] = append(l.messages[d.ID.Message], f)
	return f
}

func (l *ledger) reopened(d *store.Delivery) {
	f := l.fates[d.ID]
	f.ended, f.generation = false, d.Generation
	if !f.holds {
		f.lane = nil // it comes back outside the order
	}
	f.holds = false
}

func (l *ledger) deleted(id store.MessageID) {
	for _, f := range l.messages[id] {
		f.epoch, f.ended, f.holds = 0, true, false
	}
}

// leased notes that the store has given a lease to the process.
func (l *ledger) leased(d *store.Delivery) {
	f := l.fates[d.ID]
	if f.epoch != 0 {
		l.s.violated("%s is leased for epoch %d while it is for %d", d.ID, d.Epoch, f.epoch)
	}
	f.epoch = d.Epoch
	l.move(f, coming)
}

func (l *ledger) move(f *fate, to place) { f.place, f.since = to, l.s.passed }

// posted notes an event that the scheduler is about to get.
func (l *ledger) posted(ev event) {
	switch ev.kind {
	case handedOver:
		l.tally(ev.destination).reserved--
		l.arrived(ev.destination, &ev.leased.delivery)
	case unreserved:
		l.tally(ev.destination).reserved--
	case claimEnded:
		for i := range ev.claimed.Deliveries {
			l.arrived(ev.destination, &ev.claimed.Deliveries[i])
		}
		if ev.claimed.More {
			l.s.sometimes("window full")
		}
	case hastenEnded:
		if ev.count > 0 && l.s.process != nil && l.s.process.scheduler.queues[ev.destination].breaker.open {
			l.s.sometimes("rescued")
		}
	}
}

func (l *ledger) arrived(name string, d *store.Delivery) {
	l.move(l.fates[d.ID], ready)
	l.tally(name).ready++
}

// released notes that the scheduler gives a lease back.
func (l *ledger) released(j *leased) {
	f := l.fates[j.delivery.ID]
	if f.place != ready {
		l.s.violated("%s is given back while it is at %d", f.id, f.place)
	}
	l.tally(f.destination).ready--
	l.move(f, leaving)
}

// started notes an attempt and looks whether it may be made.
func (l *ledger) started(p *process, a action) {
	s, f, d := l.s, l.fates[a.leased.delivery.ID], &a.leased.delivery
	t, u := l.tally(a.target.ID), l.s.receiver(a.target.ID)
	switch {
	case p.draining:
		s.violated("%s is tried while the process is being stopped", f.id)
	case u.inForce != a.target || u.paused:
		s.violated("%s is tried with a configuration that is not in force", f.id)
	case f.place != ready:
		s.violated("%s is tried while it is at %d", f.id, f.place)
	case f.delivered == d.Generation+1:
		s.violated("%s is tried after it was delivered", f.id)
	case f.heard == d.Generation+1 && f.hearer == p.number:
		s.violated("%s is tried once more after its 2xx", f.id)
	case f.heard == d.Generation+1:
		s.sometimes("repeated for a reason")
	}
	l.move(f, running)
	t.ready--
	t.running++
	t.loading += a.leased.slot.loaded
	if t.running > a.target.MaxInFlight {
		s.violated("%s: %d attempts run, %d may", u.name, t.running, a.target.MaxInFlight)
	} else if t.running == a.target.MaxInFlight {
		s.sometimes("slots of the destination taken")
	}
	if d.Tries > 0 {
		crowded := t.ready+1 > readyWindow-claimBatch
		if t.retrying++; t.retrying > (a.target.MaxInFlight+1)/2 && !crowded {
			s.violated("%s: %d of %d slots are for retries", u.name, t.retrying, a.target.MaxInFlight)
		} else if t.retrying == (a.target.MaxInFlight+1)/2 && a.target.MaxInFlight > 1 {
			s.sometimes("half the slots are retries")
		}
	}
	l.probed(a, t)
	if rate := a.target.Rate; rate.bounds() {
		for len(t.starts) > 0 && s.passed.Sub(t.starts[0]) >= rate.Window {
			t.starts = t.starts[1:]
		}
		if t.starts = append(t.starts, s.passed); len(t.starts) > rate.Events {
			s.violated("%s: %d attempts started within %v", u.name, len(t.starts), rate.Window)
		} else if len(t.starts) == rate.Events {
			s.sometimes("rate used up")
		}
	}
}

// inLane looks whether it is the turn of a delivery in its lane.
func (l *ledger) inLane(j *leased) {
	f := l.fates[j.delivery.ID]
	if f.lane == nil {
		return
	}
	for _, before := range l.lanes[*f.lane] {
		if before == f {
			break
		}
		if before.lane != nil && (!before.ended || before.holds || before.place == running) {
			l.s.violated("%s is tried before %s, which came before it, has ended: %+v", f.id, before.id, *before)
		}
	}
	l.s.sometimes("tried in order")
}

// probed looks at the rate of probes.
func (l *ledger) probed(a action, t *tally) {
	s := l.s
	if a.leased.slot.probe {
		// A step of the clock makes due sooner what waits, or loses what has passed
		// since the last event.
		stepped := s.passed.Sub(l.stepped) < 2*(probeEvery+DefaultTimeout)
		if t.probe != nil || s.passed.Before(t.probeAt) && !stepped {
			s.violated("%s: probed beside another probe %v, or %v too early", a.target.ID, t.probe != nil, t.probeAt.Sub(s.passed))
		}
		t.probe = a.leased
	} else if t.downs >= breakerThreshold {
		s.violated("%s: tried without need after %d attempts found it down", a.target.ID, t.downs)
	}
}

// ended notes the end of an attempt.
func (l *ledger) ended(p *process, a action) {
	f, t := l.fates[a.leased.delivery.ID], l.tally(a.target.ID)
	l.move(f, leaving)
	t.running--
	t.loading -= a.leased.slot.loaded
	if a.leased.delivery.Tries > 0 {
		t.retrying--
	}
}

// heard notes that a 2xx has come to the process.
func (l *ledger) heard(p *process, j *leased) {
	f := l.fates[j.delivery.ID]
	f.heard, f.hearer = j.delivery.Generation+1, p.number
}

// tells takes in what an attempt tells about its destination, and reports whether
// it is about the configuration in force.
func (l *ledger) tells(a action, found condition, later time.Duration) bool {
	s, t := l.s, l.tally(a.target.ID)
	if a.target != s.receiver(a.target.ID).inForce {
		return false
	}
	if asked := s.passed.Add(later); later > 0 && asked.After(t.asked) {
		t.asked = asked
	}
	probe := t.probe == a.leased
	if probe {
		t.probe = nil
	}
	switch found {
	case up, busy:
		t.downs, t.probe = 0, nil
		if probe {
			s.sometimes("probe succeeded")
		}
	case down:
		t.downs++
		if probe {
			t.probeAt = s.passed.Add(probeEvery)
			s.sometimes("probe failed")
		} else if a.leased.slot.probe {
			s.sometimes("probe of an earlier outage failed")
		}
	}
	return true
}

// breaker looks at the breaker after an attempt that found something out.
func (l *ledger) breaker(p *process, a action, found condition) {
	s, t := l.s, l.tally(a.target.ID)
	switch open := p.scheduler.queues[a.target.ID].breaker.open; {
	case p.over:
	case (found == up || found == busy) && open:
		s.violated("%s: breaker is open after an attempt found it up", a.target.ID)
	case found == down && t.downs >= breakerThreshold && !open:
		s.violated("%s: breaker is closed after %d attempts found it down", a.target.ID, t.downs)
	}
}

// returned notes that a destination was found to be back.
func (l *ledger) returned(name string) { l.tally(name).returned = l.s.passed }

// reloaded notes that a destination has another configuration.
func (l *ledger) reloaded(u *receiver) {
	t := l.tally(u.name)
	t.probe, t.probeAt = nil, time.Time{}
	if u.inForce != nil && t.rate != u.inForce.Rate {
		t.rate, t.starts = u.inForce.Rate, nil
	}
}

// finished notes an answer of the store to an outcome.
func (l *ledger) finished(asked store.Finish, got store.Finished) {
	s, f := l.s, l.fates[asked.Lease.Delivery]
	inForce := f.epoch == asked.Lease.Epoch
	switch {
	case got.Err == nil && !inForce:
		s.violated("%s: outcome under epoch %d was taken, in force is %d", f.id, asked.Lease.Epoch, f.epoch)
	case got.Err != nil && inForce:
		s.violated("%s: outcome was refused: %v", f.id, got.Err)
	case got.Err != nil:
		if errors.Is(got.Err, store.ErrLeaseLost) {
			s.sometimes("fenced off")
		}
		return
	}
	f.epoch = 0
	l.move(f, nowhere)
	switch asked.State {
	case store.Delivered:
		s.sometimes("delivered")
		f.delivered, f.ended = f.generation+1, true
	case store.Waiting:
		f.failed = s.passed
	default:
		f.ended = asked.State.Final()
		if f.holds = got.Delivery.Holds(); f.holds {
			s.sometimes("lane held by a dead delivery")
		}
	}
}
