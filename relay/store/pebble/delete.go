// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

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
		return t.delete(id, all)
	})
	return s.wrap(doing, err)
}

// delete removes a message with all of its deliveries.
func (t *txn) delete(id store.MessageID, all []*change) error {
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

// deleteEnded removes a message that has no open delivery.
func (o *operator) deleteEnded(id store.MessageID) error {
	all, err := o.deliveries(id)
	if err != nil {
		return err
	}
	for _, c := range all { // one that can not be read is not known to have ended
		if c.State.Open() {
			return fmt.Errorf("message %s has an open delivery: %w", id, store.ErrState)
		}
	}
	if o.deleted == nil {
		o.deleted = make(map[store.MessageID]bool)
		o.stretch = stretch{id, id}
	}
	o.deleted[id] = true
	if bytes.Compare(id[:], o.stretch.first[:]) < 0 {
		o.stretch.first = id
	}
	if bytes.Compare(id[:], o.stretch.last[:]) > 0 {
		o.stretch.last = id
	}
	return o.delete(id, all)
}
