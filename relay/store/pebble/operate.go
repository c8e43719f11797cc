// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Redrive makes a dead delivery pending under a new generation.
func (s *Store) Redrive(ctx context.Context, id store.DeliveryID) (store.Delivery, error) {
	return s.change(ctx, "re-driving", store.Operation{Action: store.ActionRedrive, Delivery: id})
}

// Replay makes a new delivery of a stored message.
func (s *Store) Replay(ctx context.Context, id store.MessageID, destination string) (store.Delivery, error) {
	return s.change(ctx, "replaying", store.Operation{Action: store.ActionReplay, Delivery: store.DeliveryID{Message: id}, To: destination})
}

// Cancel ends an open delivery.
func (s *Store) Cancel(ctx context.Context, id store.DeliveryID) (store.Delivery, error) {
	return s.change(ctx, "canceling", store.Operation{Action: store.ActionCancel, Delivery: id})
}

// change carries out one operation that ends in one delivery.
func (s *Store) change(ctx context.Context, doing string, op store.Operation) (store.Delivery, error) {
	end, err := s.begin(doing)
	if err != nil {
		return store.Delivery{}, err
	}
	defer end()
	var d store.Delivery
	err = s.write(ctx, func(t *txn) error {
		o := operator{txn: t}
		d, err = o.operate(&op)
		return err
	})
	if err != nil {
		return store.Delivery{}, s.answer(doing, err)
	}
	return d, nil
}

// Operate carries out a batch of operations in one commit.
func (s *Store) Operate(ctx context.Context, batch []store.Operation) ([]store.Operated, error) {
	const doing = "operating"
	end, err := s.begin(doing)
	if err != nil {
		return nil, err
	}
	defer end()
	answers := make([]store.Operated, len(batch))
	o := operator{}
	err = s.write(ctx, func(t *txn) error {
		o.txn = t
		for i := range batch {
			if answers[i].Delivery, err = o.operate(&batch[i]); !refused(err) {
				return err
			}
			answers[i].Err = err
		}
		return nil
	})
	if err != nil {
		return nil, s.answer(doing, err)
	}
	return answers, nil
}

// refused reports whether an operation was carried out, or has changed nothing and
// says so to whoever has asked for it.
func refused(err error) bool {
	for _, target := range [...]error{store.ErrNotFound, store.ErrState, store.ErrCorrupt, store.ErrInvalid} {
		if errors.Is(err, target) {
			return true
		}
	}
	return err == nil
}

// operator carries out operations in one transaction.
type operator struct {
	*txn
	deleted map[store.MessageID]bool
}

// operate carries out one operation. It looks before it changes anything.
func (o *operator) operate(op *store.Operation) (store.Delivery, error) {
	id := op.Delivery
	switch op.Action {
	case store.ActionRedrive, store.ActionReplay, store.ActionCancel, store.ActionDelete:
	default:
		return store.Delivery{}, fmt.Errorf("action %q: %w", op.Action, store.ErrInvalid)
	}
	if o.deleted[id.Message] {
		return store.Delivery{}, fmt.Errorf("message %s: %w", id.Message, store.ErrNotFound)
	}
	var c *change
	var err error
	switch op.Action {
	case store.ActionRedrive:
		c, err = o.redriveDead(id)
	case store.ActionReplay:
		var all []*change
		if all, err = o.deliveries(id.Message); err == nil {
			c, err = o.replay(id.Message, all, op.To)
		}
	case store.ActionCancel:
		c, err = o.cancel(id)
	case store.ActionDelete:
		return store.Delivery{}, o.deleteEnded(id.Message)
	}
	if err != nil {
		return store.Delivery{}, err
	}
	return c.Delivery, nil
}

func (t *txn) redriveDead(id store.DeliveryID) (*change, error) {
	c, err := t.load(id)
	if err != nil {
		return nil, err
	}
	if c.State != store.Dead {
		return nil, fmt.Errorf("%s delivery %s: %w", c.State, id, store.ErrState)
	}
	t.redrive(c)
	return c, nil
}

func (t *txn) redrive(c *change) {
	t.spill(c)
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
	var size int64
	b, done, err := t.s.db.Get(appendMessageKey(nil, id))
	if err == nil {
		if _, body, err := splitMessage(b); err == nil {
			size = int64(len(body))
		}
		err = closeValue(done)
	}
	if illegible(err) {
		return 0, nil
	}
	return size, err
}

func (t *txn) cancel(id store.DeliveryID) (*change, error) {
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
}
