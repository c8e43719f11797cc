// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Redrive makes a dead delivery pending under a new generation.
func (s *Store) Redrive(_ context.Context, id store.DeliveryID) (store.Delivery, error) {
	return s.one("re-driving", store.Operation{Action: store.ActionRedrive, Delivery: id})
}

// Replay makes a new delivery of a stored message.
func (s *Store) Replay(_ context.Context, id store.MessageID, destination string) (store.Delivery, error) {
	return s.one("replaying", store.Operation{Action: store.ActionReplay, Delivery: store.DeliveryID{Message: id}, To: destination})
}

// Cancel ends an open delivery.
func (s *Store) Cancel(_ context.Context, id store.DeliveryID) (store.Delivery, error) {
	return s.one("canceling", store.Operation{Action: store.ActionCancel, Delivery: id})
}

// one carries out one operation.
func (s *Store) one(doing string, op store.Operation) (store.Delivery, error) {
	end, err := s.begin(doing)
	if err != nil {
		return store.Delivery{}, err
	}
	defer end()
	d, err := s.operate(&op)
	if err != nil {
		return store.Delivery{}, fmt.Errorf("%s: %w", doing, err)
	}
	return d, nil
}

// Operate carries out a batch of operations.
func (s *Store) Operate(_ context.Context, batch []store.Operation) ([]store.Operated, error) {
	end, err := s.begin("operating")
	if err != nil {
		return nil, err
	}
	defer end()
	answers := make([]store.Operated, len(batch))
	for i := range batch {
		answers[i].Delivery, answers[i].Err = s.operate(&batch[i])
	}
	return answers, nil
}

// operate carries out one operation. The delivery that it returns is zero where
// nothing was changed.
func (s *Store) operate(op *store.Operation) (store.Delivery, error) {
	switch op.Action {
	case store.ActionRedrive:
		return s.redriveDead(op.Delivery)
	case store.ActionReplay:
		r, err := s.record(op.Delivery.Message)
		if err != nil {
			return store.Delivery{}, err
		}
		return *s.replay(r, op.To, s.now()), nil
	case store.ActionCancel:
		return s.cancel(op.Delivery)
	case store.ActionDelete:
		r, err := s.record(op.Delivery.Message)
		if err == nil && r.has(store.State.Open) {
			err = fmt.Errorf("message %s has an open delivery: %w", r.message.ID, store.ErrState)
		}
		if err != nil {
			return store.Delivery{}, err
		}
		s.delete(r)
		return store.Delivery{}, nil
	default:
		return store.Delivery{}, fmt.Errorf("action %q: %w", op.Action, store.ErrInvalid)
	}
}

func (s *Store) redriveDead(id store.DeliveryID) (store.Delivery, error) {
	_, d, err := s.delivery(id)
	if err != nil {
		return store.Delivery{}, err
	}
	if d.State != store.Dead {
		return store.Delivery{}, fmt.Errorf("%s delivery %s: %w", d.State, id, store.ErrState)
	}
	s.redrive(d, s.now())
	return *d, nil
}

func (s *Store) redrive(d *store.Delivery, now time.Time) {
	d.DueAt = now // first, or it would be taken for one that is blocked
	s.move(d, store.Pending, now)
	d.Since = now
	d.Generation++
	d.Tries = 0
}

func (s *Store) replay(r *record, destination string, now time.Time) *store.Delivery {
	var last, generation uint32
	for _, d := range r.deliveries {
		if d.Destination == destination {
			last = d.ID.N
			generation = max(generation, d.Generation+1)
		}
	}
	d := s.add(r, destination, now)
	d.ReplayOf = last
	d.Generation = generation
	return d
}

func (s *Store) cancel(id store.DeliveryID) (store.Delivery, error) {
	_, d, err := s.delivery(id)
	if err != nil {
		return store.Delivery{}, err
	}
	if !d.State.Open() && !d.Holds() {
		return store.Delivery{}, fmt.Errorf("%s delivery %s: %w", d.State, id, store.ErrState)
	}
	now := s.now()
	s.move(d, store.Canceled, now)
	s.leave(d, now)
	d.Epoch++
	return *d, nil
}

// Delete removes a message with its deliveries and attempts.
func (s *Store) Delete(_ context.Context, id store.MessageID) error {
	end, err := s.begin("deleting")
	if err != nil {
		return err
	}
	defer end()
	r, err := s.record(id)
	if err != nil {
		return fmt.Errorf("deleting: %w", err)
	}
	s.delete(r)
	return nil
}

func (s *Store) delete(r *record) {
	for _, d := range r.deliveries {
		s.book(d.Destination).Move(d.State, 0, d.BodySize)
	}
	s.remove(r)
	now := s.now()
	for _, d := range r.deliveries {
		s.leave(d, now)
	}
}
