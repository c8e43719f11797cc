// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

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
	size, err := t.unlistStored(id)
	if err != nil {
		return err
	}
	t.s.reclaimRemoved(id, size)
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
	if slices.ContainsFunc(all, func(c *change) bool { return c.lost }) {
		return t.erase(id, id)
	}
	return t.eraseEach(id, all)
}

// eraseEach is erase of one message, key by key: that many may be deleted, here and
// there, and every range that is deleted makes all reads slower until it is
// compacted.
func (t *txn) eraseEach(id store.MessageID, all []*change) error {
	if t.attempts == nil {
		it, err := t.s.iterate([]byte{spaceAttempt})
		if err != nil {
			return err
		}
		t.attempts = it
	}
	_ = t.batch.Delete(appendMessageKey(nil, id), nil)
	_ = t.batch.Delete(appendDeliveryKey(nil, store.DeliveryID{Message: id}), nil) // of one without deliveries
	for _, c := range all {
		_ = t.batch.Delete(appendDeliveryKey(nil, c.ID), nil)
		if c.was.State == store.Dead {
			_ = t.batch.SingleDelete(appendDelivery([]byte{spaceDead}, c.ID), nil)
		}
		if c.spilled { // by this transaction, so that it can not be seen below
			_ = t.in(spaceAttempt).Delete(appendAttemptKey(nil, c.ID, c.was.Attempts), nil)
		}
	}
	prefix := append([]byte{spaceAttempt}, id[:]...)
	it := t.attempts
	for valid := it.SeekGE(prefix); valid && bytes.HasPrefix(it.Key(), prefix); valid = it.Next() {
		_ = t.batch.Delete(it.Key(), nil)
	}
	return it.Error()
}

// unlistStored deletes the listing keys of one message, and returns the size of its
// body. Those of one that can not be read stay, and lead nowhere.
func (t *txn) unlistStored(id store.MessageID) (size int64, err error) {
	b, done, err := t.s.db.Get(appendMessageKey(nil, id))
	if err == nil {
		size = t.unlist(id, b)
		err = closeValue(done)
	}
	if err := explainRead(err); errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
		return size, nil
	}
	return size, err
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
	}
	o.deleted[id] = true
	return o.delete(id, all)
}
