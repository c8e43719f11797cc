// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Finish ends leases, each fenced by its epoch, in one commit.
func (s *Store) Finish(ctx context.Context, batch []store.Finish) ([]store.Finished, error) {
	const doing = "finishing"
	end, err := s.begin(doing)
	if err != nil {
		return nil, err
	}
	defer end()
	for _, f := range batch {
		if f.State == store.Leased || !f.State.Open() && !f.State.Final() {
			return nil, fmt.Errorf("finishing %s as %s: %w", f.Lease.Delivery, f.State, store.ErrInvalid)
		}
	}
	answers := make([]store.Finished, len(batch))
	err = s.write(ctx, func(t *txn) error {
		for i := range batch {
			if answers[i], err = t.finish(&batch[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, s.answer(doing, err)
	}
	return answers, nil
}

// finish carries out one finish.
func (t *txn) finish(f *store.Finish) (store.Finished, error) {
	c, err := t.load(f.Lease.Delivery)
	if errors.Is(err, store.ErrNotFound) {
		return store.Finished{Err: err}, nil
	}
	if err != nil {
		return store.Finished{}, err
	}
	if !holds(f.Lease, &c.Delivery) {
		t.log(c, f.Attempt, true, false)
		return store.Finished{Delivery: c.Delivery, Err: fmt.Errorf("delivery %s: %w", c.ID, store.ErrLeaseLost)}, nil
	}
	t.log(c, f.Attempt, false, f.State.Final())
	released := false
	if f.Leaves() {
		if released, err = t.leave(c); err != nil {
			return store.Finished{}, err
		}
	}
	t.move(c, f.State)
	if f.State == store.Waiting {
		c.DueAt = t.now.Add(f.Delay).Truncate(time.Microsecond)
	}
	answer := store.Finished{Delivery: c.Delivery, Released: released}
	for i := range f.Callbacks {
		a, err := t.accept(&f.Callbacks[i])
		if err != nil {
			return store.Finished{}, fmt.Errorf("with a callback: %w", err)
		}
		answer.Callbacks = append(answer.Callbacks, a)
	}
	return answer, nil
}
