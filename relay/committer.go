// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// commitBatch and commitBytes bound what is committed together.
	commitBatch = 256
	commitBytes = 4 << 20
)

// entry is a message that waits for its commit.
type entry struct {
	flight  flight
	inbound Inbound
	// since is when it began to wait.
	since time.Time
	// backlog is that of its source, nil where it has no limit.
	backlog *backlog
}

// settle gives back the room in the backlog that was taken for the message.
func (e *entry) settle(accepted bool) { e.backlog.settle(backlogSize(&e.inbound), accepted) }

// committer commits messages in groups: whatever has come while the last commit
// ran goes into the next one.
type committer struct {
	session *session
	queue   *commitQueue
	ending  chan struct{}
	runners sync.WaitGroup

	// What follows is memory for one group after the other.
	acceptances []store.Acceptance
	deliveries  []store.NewDelivery
	stored      map[string]struct{}
}

func newCommitter(s *session) *committer {
	return &committer{session: s, queue: newCommitQueue(), ending: make(chan struct{}), stored: make(map[string]struct{})}
}

// start begins to commit, one group at a time: a second one beside it would halve
// the groups, and cost more for each message than its overlap with the first
// saves.
func (c *committer) start() { c.runners.Go(c.run) }

// submit queues a message. It does not wait.
func (c *committer) submit(e *entry) error {
	if err := c.session.failure(); err != nil {
		return err
	}
	return c.queue.add(e)
}

func (c *committer) run() {
	batch := make([]*entry, 0, commitBatch)
	for {
		select {
		case <-c.ending:
			return
		case <-c.queue.more:
		}
		for {
			batch = c.queue.take(c.session.engine.clock.Now(), batch[:0])
			if len(batch) == 0 {
				break
			}
			c.commit(batch)
			clear(batch)
		}
	}
}

// commit writes a batch and lands its flights.
func (c *committer) commit(batch []*entry) {
	s := c.session
	targets := 0
	for _, e := range batch {
		targets += len(e.inbound.Targets)
	}
	c.acceptances = slices.Grow(c.acceptances[:0], len(batch))[:len(batch)]
	c.deliveries = slices.Grow(c.deliveries[:0], targets)[:targets]
	defer c.forget()
	acceptances, deliveries := c.acceptances, c.deliveries
	for i, e := range batch {
		in := &e.inbound
		in.Message.ID = s.engine.ids.next(e.since)
		n := len(in.Targets)
		acceptances[i] = store.Acceptance{
			Message: in.Message, Key: e.flight.key, Window: in.Window, Redeliver: in.Redeliver,
			Deliveries: deliveries[:n:n],
		}
		deliveries = deliveries[n:]
		s.dispatcher.reserve(in.Targets, acceptances[i].Deliveries)
		s.enlist(in, acceptances[i].Deliveries)
	}
	accepted, err := s.store.Accept(context.Background(), acceptances)
	if err != nil {
		s.storeError("accepting messages", err)
		for i, e := range batch {
			s.abandon(acceptances[i].Deliveries)
			c.refuse(e, fmt.Errorf("accepting a message: %w", err))
		}
		return
	}
	for i, e := range batch {
		a := &accepted[i]
		e.settle(a.Verdict == store.Fresh)
		// First the dispatcher, then the senders: what a sender sends after its 2xx
		// comes behind the message that it was for.
		s.handOver(e, &acceptances[i], a, c.stored)
		e.flight.receipt = Receipt{ID: a.Message, Verdict: a.Verdict, AcceptedAt: a.AcceptedAt}
	}
	for destination := range c.stored {
		s.dispatcher.post(event{kind: becameStored, destination: destination})
	}
	s.note(batch)
	s.flights.landAll(batch)
}

// note remembers a group of messages that are durable, and tells of them: those of
// one source at once, which mostly come together.
func (s *session) note(group []*entry) {
	s.front.addAll(group)
	for len(group) > 0 {
		source, verdict := group[0].inbound.Message.Source, group[0].flight.receipt.Verdict
		n := slices.IndexFunc(group, func(e *entry) bool {
			return e.inbound.Message.Source != source || e.flight.receipt.Verdict != verdict
		})
		if n < 0 {
			n = len(group)
		}
		s.engine.observer.Accepted(source, verdict, n)
		group = group[n:]
	}
}

// forget keeps nothing of a group but memory, and none that only a group of many
// deliveries has needed.
func (c *committer) forget() {
	clear(c.acceptances)
	clear(c.deliveries)
	clear(c.stored)
	if cap(c.deliveries) > 4*commitBatch {
		c.deliveries = nil
	}
}

// refuse gives back what was taken for a message that is not accepted, and lands
// its flight.
func (c *committer) refuse(e *entry, err error) {
	e.settle(false)
	e.inbound.Waiter.settle(false)
	e.inbound.Reservation.Release()
	c.session.flights.land(&e.flight, Receipt{}, err)
}

// quit ends the committer after the commit under way. What still waits for its
// commit is refused at once.
func (c *committer) quit() {
	refusal := c.session.failure()
	if refusal == nil {
		refusal = ErrClosed
	}
	for _, e := range c.queue.close() {
		c.refuse(e, refusal)
	}
	close(c.ending)
}

// wait returns when the committer has ended after quit.
func (c *committer) wait() { c.runners.Wait() }
