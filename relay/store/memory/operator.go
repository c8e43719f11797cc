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
	end, err := s.begin("re-driving")
	if err != nil {
		return store.Delivery{}, err
	}
	defer end()
	_, d, err := s.delivery(id)
	if err != nil {
		return store.Delivery{}, fmt.Errorf("re-driving: %w", err)
	}
	if d.State != store.Dead {
		return store.Delivery{}, fmt.Errorf("re-driving %s delivery %s: %w", d.State, id, store.ErrState)
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

// Replay makes a new delivery of a stored message.
func (s *Store) Replay(_ context.Context, id store.MessageID, destination string) (store.Delivery, error) {
	end, err := s.begin("replaying")
	if err != nil {
		return store.Delivery{}, err
	}
	defer end()
	r, err := s.record(id)
	if err != nil {
		return store.Delivery{}, fmt.Errorf("replaying: %w", err)
	}
	return *s.replay(r, destination, s.now()), nil
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

// Cancel ends an open delivery.
func (s *Store) Cancel(_ context.Context, id store.DeliveryID) (store.Delivery, error) {
	end, err := s.begin("canceling")
	if err != nil {
		return store.Delivery{}, err
	}
	defer end()
	_, d, err := s.delivery(id)
	if err != nil {
		return store.Delivery{}, fmt.Errorf("canceling: %w", err)
	}
	if !d.State.Open() && !d.Holds() {
		return store.Delivery{}, fmt.Errorf("canceling %s delivery %s: %w", d.State, id, store.ErrState)
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
	for _, d := range r.deliveries {
		s.book(d.Destination).Move(d.State, 0, d.BodySize)
	}
	s.remove(r)
	now := s.now()
	for _, d := range r.deliveries {
		s.leave(d, now)
	}
	return nil
}
