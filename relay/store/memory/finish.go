// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Finish ends leases, each fenced by its epoch.
func (s *Store) Finish(_ context.Context, batch []store.Finish) ([]store.Finished, error) {
	end, err := s.begin("finishing")
	if err != nil {
		return nil, err
	}
	defer end()
	for _, f := range batch {
		if f.State == store.Leased || !f.State.Open() && !f.State.Final() {
			return nil, fmt.Errorf("finishing %s as %s: %w", f.Lease.Delivery, f.State, store.ErrInvalid)
		}
	}
	if err := s.check(callbacks(batch)); err != nil {
		return nil, fmt.Errorf("finishing with a callback: %w", err)
	}
	answers := make([]store.Finished, 0, len(batch))
	now := s.now()
	for i := range batch {
		answers = append(answers, s.finish(&batch[i], now))
	}
	return answers, nil
}

// callbacks yields the callbacks of all finishes.
func callbacks(batch []store.Finish) func(yield func(store.Acceptance) bool) {
	return func(yield func(store.Acceptance) bool) {
		for _, f := range batch {
			for _, a := range f.Callbacks {
				if !yield(a) {
					return
				}
			}
		}
	}
}

// finish carries out one finish, which has been checked.
func (s *Store) finish(f *store.Finish, now time.Time) store.Finished {
	r, d, err := s.delivery(f.Lease.Delivery)
	if err != nil {
		return store.Finished{Err: err}
	}
	if !holds(f.Lease, d) {
		r.log(d, f.Attempt, true)
		return store.Finished{Delivery: *d, Err: fmt.Errorf("delivery %s: %w", d.ID, store.ErrLeaseLost)}
	}
	r.log(d, f.Attempt, false)
	s.move(d, f.State, now)
	if f.State == store.Waiting {
		d.DueAt = now.Add(f.Delay)
	}
	released := f.Leaves() && s.leave(d, now)
	answer := store.Finished{Delivery: *d, Released: released}
	for i := range f.Callbacks {
		answer.Callbacks = append(answer.Callbacks, s.accept(&f.Callbacks[i], now))
	}
	return answer
}

// log records an attempt of a delivery, if there is one. A superseded one only
// takes its number.
func (r *record) log(d *store.Delivery, given *store.Attempt, superseded bool) {
	if given == nil {
		return
	}
	d.Attempts++
	attempt := *given
	attempt.Number = d.Attempts
	attempt.Superseded = superseded
	attempt.Head = bytes.Clone(given.Head)
	r.attempts[d.ID.N-1] = append(r.attempts[d.ID.N-1], attempt)
	if superseded {
		return
	}
	if attempt.Outcome.Counted() {
		d.Tries++
	}
	d.LastStatus = attempt.Status
	d.LastError = attempt.Error
}
