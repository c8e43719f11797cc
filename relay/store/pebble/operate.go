// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Redrive makes a dead delivery pending under a new generation.
func (s *Store) Redrive(ctx context.Context, id store.DeliveryID) (store.Delivery, error) {
	return s.change(ctx, "re-driving", func(t *txn) (*change, error) {
		c, err := t.load(id)
		if err != nil {
			return nil, err
		}
		if c.State != store.Dead {
			return nil, fmt.Errorf("%s delivery %s: %w", c.State, id, store.ErrState)
		}
		t.redrive(c)
		return c, nil
	})
}

// Replay makes a new delivery of a stored message.
func (s *Store) Replay(ctx context.Context, id store.MessageID, destination string) (store.Delivery, error) {
	return s.change(ctx, "replaying", func(t *txn) (*change, error) {
		all, err := t.deliveries(id)
		if err != nil {
			return nil, err
		}
		return t.replay(id, all, destination)
	})
}

// Cancel ends an open delivery.
func (s *Store) Cancel(ctx context.Context, id store.DeliveryID) (store.Delivery, error) {
	return s.change(ctx, "canceling", func(t *txn) (*change, error) {
		c, err := t.load(id)
		if err != nil {
			return nil, err
		}
		if !c.State.Open() && !c.Holds() {
			return nil, fmt.Errorf("%s delivery %s: %w", c.State, id, store.ErrState)
		}
		if _, err := t.leave(c); err != nil {
			return nil, err
		}
		t.move(c, store.Canceled)
		c.Epoch++
		return c, nil
	})
}

// change runs a transaction that ends in one delivery.
func (s *Store) change(ctx context.Context, doing string, build func(*txn) (*change, error)) (store.Delivery, error) {
	end, err := s.begin(doing)
	if err != nil {
		return store.Delivery{}, err
	}
	defer end()
	var d store.Delivery
	err = s.write(ctx, func(t *txn) error {
		c, err := build(t)
		if err == nil {
			d = c.Delivery
		}
		return err
	})
	if err != nil {
		return store.Delivery{}, s.answer(doing, err)
	}
	return d, nil
}

func (t *txn) redrive(c *change) {
	t.move(c, store.Pending)
	c.DueAt = t.now
	c.Since = t.now
	c.Generation++
	c.Tries = 0
}

// replay makes a delivery of a message beside all that it has.
func (t *txn) replay(id store.MessageID, all []*change, destination string) (*change, error) {
	var number, last, generation uint32
	var size int64
	for _, c := range all {
		size = max(size, c.BodySize)
		number = max(number, c.ID.N)
		if c.Destination == destination {
			last = c.ID.N
			generation = max(generation, c.Generation+1)
		}
	}
	if size == 0 {
		var err error
		if size, err = t.bodySize(id); err != nil {
			return nil, err
		}
	}
	c, err := t.add(store.DeliveryID{Message: id, N: number + 1}, destination, size)
	if err != nil {
		return nil, err
	}
	c.ReplayOf = last
	c.Generation = generation
	return c, nil
}

// bodySize reads how large the body of a stored message is. Of one that can not
// be read, which whoever delivers it will see, it is 0.
func (t *txn) bodySize(id store.MessageID) (int64, error) {
	b, done, err := t.s.db.Get(appendMessageKey(nil, id))
	if err := explainRead(err); errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	_, body, err := splitMessage(b)
	if err != nil {
		body = nil
	}
	return int64(len(body)), done.Close()
}

// Delete removes a message with its deliveries and attempts.
func (s *Store) Delete(ctx context.Context, id store.MessageID) error {
	const doing = "deleting"
	end, err := s.begin(doing)
	if err != nil {
		return err
	}
	defer end()
	err = s.write(ctx, func(t *txn) error {
		all, err := t.deliveries(id)
		if err != nil {
			return err
		}
		if err := t.unlistStored(id); err != nil {
			return err
		}
		for _, c := range all {
			if c.lost {
				continue
			}
			t.book(c.Destination).Move(c.State, 0, c.BodySize)
			c.gone = true
		}
		for _, c := range all {
			if _, err := t.leave(c); err != nil {
				return err
			}
		}
		return t.erase(id, id)
	})
	return s.wrap(doing, err)
}

// unlistStored deletes the listing keys of one message.
func (t *txn) unlistStored(id store.MessageID) error {
	b, done, err := t.s.db.Get(appendMessageKey(nil, id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	t.unlist(id, b)
	return done.Close()
}
