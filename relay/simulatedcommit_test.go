// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"encoding/binary"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// simulatedBody is the size of the largest body, simulatedWindow how long events
// are remembered.
const (
	simulatedBody   = 256
	simulatedWindow = 3 * 24 * time.Hour
)

// senders send events and repeat what was not answered.
type senders struct {
	events   int
	messages uint64
	// answered are events that got their 2xx, oldest first.
	answered []*arrival
}

// arrival is an event that is sent, perhaps more than once.
type arrival struct {
	message   *store.Message
	key       store.DedupeKey
	targets   []string
	orderKey  string
	redeliver bool
	tries     int
	// ask is what the store was asked.
	ask store.Acceptance
}

// send sends a new event to some of the destinations.
func (s *simulation) send() {
	s.senders.events++
	a := &arrival{redeliver: s.chance(4)}
	if !s.chance(5) {
		binary.BigEndian.PutUint64(a.key[:], uint64(s.senders.events))
	}
	if s.chance(2) {
		a.orderKey = string(rune('a' + s.random.IntN(3)))
	}
	for _, u := range s.receivers {
		if s.chance(len(s.receivers)) || len(s.receivers) < 3 {
			a.targets = append(a.targets, u.name)
		}
	}
	s.arrive(a)
}

// arrive brings an event to the process in force, in a request of its own.
func (s *simulation) arrive(a *arrival) {
	p := s.process
	if p == nil {
		s.unanswered(a)
		return
	}
	again := *a
	s.senders.messages++
	m := &store.Message{Source: "source", ReceivedAt: s.now()}
	binary.BigEndian.PutUint64(m.ID[:], uint64(s.passed.UnixMilli())<<16)
	binary.BigEndian.PutUint64(m.ID[8:], s.senders.messages)
	m.Request.Body = make([]byte, 1+s.random.IntN(simulatedBody))
	again.message = m
	if len(p.entries) >= commitQueueSize*3/4 {
		s.sometimes("overloaded")
		s.unanswered(&again)
		return
	}
	p.entries = append(p.entries, &again)
	p.commit()
}

// unanswered has the sender come back. One whose events have no identity gives
// up, as it would make new messages only.
func (s *simulation) unanswered(a *arrival) {
	s.sometimes("no answer to the sender")
	if a.tries++; a.tries < 50 && a.key != (store.DedupeKey{}) {
		s.after(time.Second+s.upTo(time.Duration(a.tries)*time.Minute), func() { s.arrive(a) })
	}
}

// commit commits what has come, one group at a time, as the committer does.
func (p *process) commit() {
	s := p.s
	if p.committing || len(p.entries) == 0 || p.over {
		return
	}
	p.committing = true
	batch := p.entries[:min(len(p.entries), commitBatch)]
	p.entries = p.entries[len(batch):]
	asks := make([]store.Acceptance, len(batch))
	for i, a := range batch {
		a.ask = store.Acceptance{Message: a.message, Key: a.key, Window: simulatedWindow, Redeliver: a.redeliver}
		for _, name := range a.targets {
			d := store.NewDelivery{Destination: name, OrderKey: a.orderKey}
			if p.scheduler.reserve(name) {
				s.ledger.tally(name).reserved++
				d.Lease = leaseForever
			}
			a.ask.Deliveries = append(a.ask.Deliveries, d)
		}
		asks[i] = a.ask
	}
	s.ledger.check(p)
	s.after(s.latency(), func() { p.accept(batch, asks) })
}

func (p *process) accept(batch []*arrival, asks []store.Acceptance) {
	s := p.s
	if p.over {
		s.refuse(batch)
		return
	}
	if p.failsAt("accept failed") {
		for _, a := range batch {
			p.abandon(a)
		}
		s.refuse(batch)
		p.committing = false
		p.commit()
		p.settle()
		return
	}
	accepted, err := s.disk.Accept(s.t.Context(), asks)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range accepted {
		s.ledger.accepted(&asks[i], &accepted[i])
	}
	if s.trouble.fatal(s) {
		s.sometimes("store failed after its commit")
		p.fail()
	}
	s.after(s.latency(), func() {
		if p.over {
			s.sometimes("committed but not answered")
			s.refuse(batch)
			return
		}
		for i, a := range batch {
			p.handOver(a, &accepted[i])
			s.ledger.answered(a, &accepted[i])
			s.senders.answered = append(s.senders.answered, a)
		}
		p.committing = false
		p.commit()
		p.settle()
	})
}

func (s *simulation) refuse(batch []*arrival) {
	for _, a := range batch {
		s.unanswered(a)
	}
}

// abandon gives reserved places back.
func (p *process) abandon(a *arrival) {
	for i := range a.ask.Deliveries {
		if d := &a.ask.Deliveries[i]; d.Lease > 0 {
			p.post(event{kind: unreserved, destination: d.Destination})
		}
	}
}

// handOver tells the scheduler what was accepted, as the session does.
func (p *process) handOver(a *arrival, got *store.Accepted) {
	s := p.s
	if got.Verdict != store.Fresh {
		p.abandon(a)
		for i := range got.Deliveries {
			p.post(event{kind: becameStored, destination: got.Deliveries[i].Destination})
		}
		return
	}
	h := p.hold(a)
	for i := range got.Deliveries {
		d := &got.Deliveries[i]
		if d.State != store.Leased {
			if a.ask.Deliveries[i].Lease > 0 {
				p.post(event{kind: unreserved, destination: d.Destination})
			}
			if !d.Blocked() {
				p.post(event{kind: becameStored, destination: d.Destination})
			}
			continue
		}
		if h != nil {
			s.sometimes("handed over")
		}
		h.add()
		p.post(event{kind: handedOver, destination: d.Destination, leased: &leased{delivery: *d, hold: h}})
	}
	h.drop()
}

// hold keeps a message in memory while there is enough of it.
func (p *process) hold(a *arrival) *hold {
	r := p.budget.Reserve(a.message.Source)
	if !r.Grow(int64(len(a.message.Request.Body))) {
		return nil
	}
	if !r.spare() {
		r.Release()
		return nil
	}
	h := &hold{message: a.message, reservation: r}
	h.refs.Store(1)
	return h
}
