// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// finishDelay is how long outcomes are collected before they are committed
	// together. A crash loses no more than that, and what it loses is delivered
	// once more.
	finishDelay = 20 * time.Millisecond

	// finishBatch is how many outcomes are committed together at most.
	finishBatch = 512

	// finishRetry is how long a commit that failed is put off.
	finishRetry = time.Second

	// maxUnrecorded bounds the outcomes that wait for their commit. Beyond it
	// attempts keep their slots, so that a store that hangs stops deliveries
	// rather than have them all repeated later.
	maxUnrecorded = 4096
)

// record is an outcome on its way into the store.
type record struct {
	finish store.Finish
	// destination is empty for a lease that is only given back.
	destination string
	// ordered says that others wait for the outcome in the delivery's lane.
	ordered bool
	// then, where it is set, is called once the outcome is durable, or can not be
	// recorded any more.
	then func()
}

// finisher commits the outcomes of attempts in groups.
type finisher struct {
	session *session
	wake    chan struct{}
	urgent  chan struct{}
	quit    chan struct{}
	done    chan struct{}

	mu      sync.Mutex
	space   sync.Cond
	pending []record
	spare   []record // for pending, empty
	closed  bool
	ended   bool
}

func newFinisher(s *session) *finisher {
	f := &finisher{
		session: s, wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	f.space.L = &f.mu
	return f
}

// add takes an outcome. It waits while too many are waiting for their commit;
// a lease that is only given back never waits, since it frees what others need.
func (f *finisher) add(r record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.pending) >= maxUnrecorded && r.destination != "" && !f.closed {
		f.space.Wait()
	}
	if f.ended {
		return
	}
	f.pending = append(f.pending, r)
	if r.ordered {
		select {
		case f.urgent <- struct{}{}:
		default:
		}
	}
	if len(f.pending) == 1 {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// run commits until close is called, and then what is left. It collects outcomes
// for a while, but none that others wait for.
func (f *finisher) run() {
	defer f.end()
	collected := make(chan struct{}, 1)
	for {
		select {
		case <-f.wake:
		case <-f.quit:
			f.flush()
			return
		}
		select {
		case <-f.urgent:
			f.flush()
			continue
		default:
		}
		stop := f.session.engine.clock.AfterFunc(finishDelay, func() { collected <- struct{}{} })
		select {
		case <-collected:
		case <-f.urgent:
			if !stop() {
				<-collected
			}
		case <-f.quit:
			if !stop() {
				<-collected
			}
		}
		f.flush()
	}
}

// end lets go of what comes too late to be committed.
func (f *finisher) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended, f.pending = true, nil
	close(f.done)
}

// flush commits all that is pending.
func (f *finisher) flush() {
	for {
		f.mu.Lock()
		batch := f.pending
		if len(batch) > finishBatch {
			batch = batch[:finishBatch:finishBatch]
			f.pending = append([]record(nil), f.pending[finishBatch:]...)
		} else {
			f.pending, f.spare = f.spare, nil
		}
		f.space.Broadcast()
		f.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		f.commit(batch)
		f.reuse(batch)
	}
}

// reuse keeps the memory of a batch that has been committed for outcomes to come.
func (f *finisher) reuse(batch []record) {
	clear(batch)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spare = batch[:0]
}

// commit writes a batch and tells the dispatcher what became stored by it.
func (f *finisher) commit(batch []record) {
	finishes := make([]store.Finish, len(batch))
	for i := range batch {
		finishes[i] = batch[i].finish
	}
	finished, err := f.session.store.Finish(context.Background(), finishes)
	for err != nil {
		f.session.storeError("recording outcomes", err)
		if !f.session.pause(finishRetry) {
			return
		}
		finished, err = f.session.store.Finish(context.Background(), finishes)
	}
	d := f.session.dispatcher
	for i := range finished {
		if then := batch[i].then; then != nil {
			then()
		}
		if err := finished[i].Err; err != nil {
			f.session.engine.log.Debug("dropping the outcome of an attempt",
				zap.Stringer("delivery", finishes[i].Lease.Delivery), zap.Error(err))
			continue
		}
		delivery := &finished[i].Delivery
		if finished[i].Released {
			d.post(event{kind: becameStored, destination: delivery.Destination})
		}
		switch delivery.State {
		case store.Waiting:
			// Counted from our own clock, since the store's may have been set differently.
			at := f.session.engine.clock.Now().Add(finishes[i].Delay)
			d.post(event{kind: becameWaiting, destination: delivery.Destination, at: at})
		case store.Pending:
			d.post(event{kind: becameStored, destination: delivery.Destination})
		}
	}
}

// close commits what is pending and ends the finisher.
func (f *finisher) close() {
	f.mu.Lock()
	f.closed = true
	f.space.Broadcast()
	f.mu.Unlock()
	close(f.quit)
	<-f.done
}
