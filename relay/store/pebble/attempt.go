// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// The attempt that ends a delivery is kept in the record of the delivery, which is
// written anyway, if it is the last one and small. All others have keys of their
// own: only what is open or has ended is written again, and nothing but the last
// attempt of one that has ended is moved to a key when another follows.

// maxWithAttempt bounds the record of a delivery with an attempt in it, in bytes.
// Larger ones would be kept apart from their keys as messages are, and be read
// one by one by whoever walks over deliveries.
const maxWithAttempt = separated - 1

func appendAttemptRecord(b []byte, a *store.Attempt) []byte {
	b = appendTime(b, 1, a.StartedAt)
	b = appendUint(b, 2, uint64(max(0, a.Duration)))
	b = appendUint(b, 3, uint64(a.Outcome))
	b = appendUint(b, 4, uint64(a.Status))
	b = appendString(b, 5, a.Error)
	b = appendBytes(b, 6, a.Head)
	return appendBool(b, 7, a.Superseded)
}

func decodeAttempt(number uint32, b []byte) (store.Attempt, error) {
	a := store.Attempt{Number: number}
	err := eachField(b, func(f field) error {
		switch f.num {
		case 1:
			a.StartedAt = f.time()
		case 2:
			a.Duration = time.Duration(f.uint)
		case 3:
			a.Outcome = store.Outcome(f.uint)
		case 4:
			a.Status = int(f.uint)
		case 5:
			a.Error = f.text
		case 6:
			a.Head = append([]byte(nil), f.data...)
		case 7:
			a.Superseded = protowire.DecodeBool(f.uint)
		}
		return nil
	})
	return a, err
}

// appendLast encodes the attempt that is kept in a delivery, if there is one. Its
// number, its status and its error are those that the delivery tells of.
func appendLast(b []byte, a *store.Attempt) []byte {
	if a == nil {
		return b
	}
	b = appendUint(b, 17, uint64(a.Outcome)+1)
	b = appendTime(b, 18, a.StartedAt)
	b = appendUint(b, 19, uint64(max(0, a.Duration)))
	return appendBytes(b, 20, a.Head)
}

// decodeLast adds a field of a delivery to the attempt that is kept in it, if
// there is one.
func decodeLast(a *store.Attempt, f field) {
	if a == nil {
		return
	}
	switch f.num {
	case 18:
		a.StartedAt = f.time()
	case 19:
		a.Duration = time.Duration(f.uint)
	case 20:
		a.Head = append([]byte(nil), f.data...)
	}
}

// log records an attempt of a delivery, if there is one. A superseded one only
// takes its number; one that ends the delivery may be kept in it.
func (t *txn) log(c *change, given *store.Attempt, superseded, ends bool) {
	if given == nil {
		return
	}
	t.spill(c)
	c.Attempts++
	c.dirty = true
	if !superseded {
		if given.Outcome.Counted() {
			c.Tries++
		}
		c.LastStatus = given.Status
		c.LastError = given.Error
	}
	if ends {
		c.last = given
		return
	}
	t.putAttempt(c, given, superseded)
}

// spill gives the attempt that is kept in a delivery a key of its own, before the
// delivery is changed so that it has to tell of another.
func (t *txn) spill(c *change) {
	if c.last != nil {
		t.putAttempt(c, c.last, false)
		c.last, c.spilled = nil, true
	}
}

// putAttempt writes the attempt with the newest number of a delivery under its key.
func (t *txn) putAttempt(c *change, given *store.Attempt, superseded bool) {
	a := *given
	a.Superseded = superseded
	t.scratch = appendAttemptRecord(t.scratch[:0], &a)
	t.key = appendAttemptKey(t.key[:0], c.ID, c.Attempts)
	_ = t.in(spaceAttempt).Set(t.key, t.scratch, nil)
}

// writeRow writes a delivery, with the attempt that has ended it if there is room.
func (t *txn) writeRow(c *change) {
	d := c.Delivery
	if d.State == store.Leased && !c.bare {
		d.State = store.Pending
	}
	t.scratch = appendDeliveryRecord(t.scratch[:0], &d, c.last)
	if c.last != nil && len(t.scratch) > maxWithAttempt {
		t.spill(c)
		t.scratch = appendDeliveryRecord(t.scratch[:0], &d, nil)
	}
	t.key = appendDeliveryKey(t.key[:0], c.ID)
	_ = t.in(spaceDelivery).Set(t.key, t.scratch, nil)
}

// Attempts returns the recorded attempts of a delivery, oldest first.
func (s *Store) Attempts(ctx context.Context, id store.DeliveryID) ([]store.Attempt, error) {
	return reading(s, "reading attempts", func() (all []store.Attempt, err error) {
		err = s.read(ctx, func(t *txn) error {
			c, err := t.load(id)
			if err != nil {
				return err
			}
			if all, err = s.attempts(id); err == nil && c.last != nil {
				all = append(all, *c.last)
			}
			return err
		})
		return all, err
	})
}

// attempts reads the attempts that have keys.
func (s *Store) attempts(id store.DeliveryID) ([]store.Attempt, error) {
	it, err := s.iterate(appendDelivery([]byte{spaceAttempt}, id))
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var all []store.Attempt
	for it.First(); it.Valid(); it.Next() {
		a, err := decodeAttempt(binary.BigEndian.Uint32(it.Key()[deliveryKey:]), it.Value())
		if err != nil {
			return nil, fmt.Errorf("attempt of %s: %w", id, err)
		}
		all = append(all, a)
	}
	return all, it.Error()
}
