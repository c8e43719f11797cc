// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// A dead delivery is all that an operator has to act on, and may hold the lane of
// those behind it. So its key among the dead ones has a copy of its row, with which
// it can be shown, re-driven, canceled and deleted where the row can not be read.

// setDead puts the key of a delivery that has died into the batch.
func (t *txn) setDead(c *change) {
	d := c.Delivery
	d.LastError = ""
	_ = t.batch.Set(appendDelivery([]byte{spaceDead}, c.ID), appendDeliveryRecord(nil, &d, nil), nil)
}

// salvage tracks the copy of a dead delivery whose row could not be read, and
// returns the error of the row where there is none.
func (t *txn) salvage(id store.DeliveryID, cause error) (*change, error) {
	if !illegible(cause) {
		return nil, cause
	}
	b, done, err := t.s.db.Get(appendDelivery([]byte{spaceDead}, id))
	if err != nil {
		return nil, cause
	}
	defer done.Close()
	d, err := decodeDelivery(id, b)
	if err != nil || d.State != store.Dead {
		return nil, cause
	}
	t.s.tell("a dead delivery can not be read; a copy of it is used, and written once it is re-driven or canceled", id, cause)
	return t.track(change{Delivery: d, was: d}), nil
}

// tell says once of a delivery that it can not be read. The caller has the writer's
// place.
func (s *Store) tell(what string, id store.DeliveryID, err error) {
	if s.told[id] {
		return
	}
	s.told[id] = true
	s.logger.Error(what, zap.Stringer("delivery", id), zap.Error(err))
}
