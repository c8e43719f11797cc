// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Redrive makes a dead delivery due again at once, under a new generation with
// all its tries. It returns store.ErrNotFound, or store.ErrState for a delivery
// that is not dead.
func (e *Engine) Redrive(ctx context.Context, id store.DeliveryID) (store.Delivery, error) {
	return e.operate(ctx, func(s *session) (store.Delivery, error) { return s.store.Redrive(ctx, id) })
}

// Replay makes a new delivery of a stored message to a destination, whatever
// became of earlier ones. It returns store.ErrNotFound, or ErrNoDestination for a
// destination that is not in force and never had a delivery.
func (e *Engine) Replay(ctx context.Context, id store.MessageID, destination string) (store.Delivery, error) {
	if _, err := e.known(ctx, destination); err != nil {
		return store.Delivery{}, fmt.Errorf("replaying to %q: %w", destination, err)
	}
	return e.operate(ctx, func(s *session) (store.Delivery, error) { return s.store.Replay(ctx, id, destination) })
}

// ReplayAll makes a new delivery of a stored message to each destination that it
// was made for, in the order of their first deliveries. It returns
// store.ErrNotFound; on an error in the midst it also returns those that were
// made.
func (e *Engine) ReplayAll(ctx context.Context, id store.MessageID) ([]store.Delivery, error) {
	s, err := e.ready(ctx)
	if err != nil {
		return nil, err
	}
	had, err := s.store.Deliveries(ctx, id)
	if err != nil {
		return nil, s.failing("replaying", err)
	}
	var made []store.Delivery
	seen := make(map[string]bool)
	for i := range had {
		destination := had[i].Destination
		if destination == "" || seen[destination] { // of one that can not be read nobody knows where it was to go
			continue
		}
		seen[destination] = true
		d, err := e.operate(ctx, func(s *session) (store.Delivery, error) { return s.store.Replay(ctx, id, destination) })
		if err != nil {
			return made, err
		}
		made = append(made, d)
	}
	return made, nil
}

// Cancel ends an open delivery. An attempt under way goes on, but whatever comes
// of it changes nothing any more. It returns store.ErrNotFound, or store.ErrState
// for a delivery that is not open.
func (e *Engine) Cancel(ctx context.Context, id store.DeliveryID) (store.Delivery, error) {
	return e.operate(ctx, func(s *session) (store.Delivery, error) { return s.store.Cancel(ctx, id) })
}

// operate changes one delivery in the store, and tells the dispatcher.
func (e *Engine) operate(ctx context.Context, change func(*session) (store.Delivery, error)) (store.Delivery, error) {
	s, err := e.ready(ctx)
	if err != nil {
		return store.Delivery{}, err
	}
	d, err := change(s)
	if err != nil {
		return store.Delivery{}, s.failing("operating", err)
	}
	s.changed(&d)
	return d, nil
}

// changed tells the dispatcher that a delivery was changed behind its back.
func (s *session) changed(d *store.Delivery) {
	if d.State.Open() {
		s.dispatcher.post(event{kind: becameStored, destination: d.Destination})
	} else {
		s.revoke(d)
	}
}

// revoke tells the dispatcher that a delivery was taken away, and who waits for
// its first attempt that there is none.
func (s *session) revoke(d *store.Delivery) {
	s.dispatcher.waiters.take(d.ID).settle(false)
	s.dispatcher.post(event{kind: revoked, destination: d.Destination, delivery: d.ID})
}

// failing notes an error with which the store says that it has failed, and
// returns any.
func (s *session) failing(doing string, err error) error {
	if errors.Is(err, store.ErrFailed) {
		s.storeError(doing, err)
	}
	return err
}

// Delete removes a message with its deliveries, open or not, and their attempts.
// A duplicate of it is still dropped as long as its key is kept. Attempts under
// way go on. It returns store.ErrNotFound.
func (e *Engine) Delete(ctx context.Context, id store.MessageID) error {
	s, err := e.ready(ctx)
	if err != nil {
		return err
	}
	had, err := s.store.Deliveries(ctx, id)
	if err == nil {
		err = s.store.Delete(ctx, id)
	}
	if err != nil {
		return s.failing("deleting", err)
	}
	for i := range had {
		// Also of what had ended: a dead delivery may have held its lane.
		s.revoke(&had[i])
	}
	return nil
}
