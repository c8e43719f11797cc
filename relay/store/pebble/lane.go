// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// A lane has a key while somebody is in it, and a key for each of its deliveries
// that is blocked, by place. Its head has none: it has a due key, like any
// delivery that is not blocked. So what waits in lanes is neither walked over by
// those who claim nor kept in memory, and a lane that nobody waits in costs a key
// that is set and deleted again.

// laneName identifies a lane.
type laneName struct{ destination, key string }

// lane is what a transaction knows of one lane.
type lane struct {
	was   bool      // somebody is in it, as the disk has it
	taken bool      // somebody is in it
	added []*change // those that the transaction has blocked in it, by place
}

func appendLaneKey(b []byte, space byte, name laneName) []byte {
	return appendName(appendName(append(b, space), name.destination), name.key)
}

func appendBlockedKey(b []byte, d *store.Delivery) []byte {
	b = appendLaneKey(b, spaceBlocked, laneName{d.Destination, d.OrderKey})
	return appendDelivery(binary.BigEndian.AppendUint64(b, d.Place), d.ID)
}

// lane returns what is known of a lane, to be changed.
func (t *txn) lane(name laneName) (*lane, error) {
	if l, ok := t.lanes[name]; ok {
		return l, nil
	}
	t.scratch = appendLaneKey(t.scratch[:0], spaceLane, name)
	_, done, err := t.s.db.Get(t.scratch)
	l := new(lane)
	switch {
	case err == nil:
		l.was, l.taken = true, true
		_ = done.Close()
	case !errors.Is(err, pebble.ErrNotFound):
		return nil, err
	}
	if t.lanes == nil {
		t.lanes = make(map[laneName]*lane)
	}
	t.lanes[name] = l
	return l, nil
}

// join puts a new delivery at the end of the lane of a key.
func (t *txn) join(c *change, key string) error {
	if len(key) > store.MaxOrderKey {
		return fmt.Errorf("order key of %d bytes, at most %d: %w", len(key), store.MaxOrderKey, store.ErrInvalid)
	}
	l, err := t.lane(laneName{c.Destination, key})
	if err != nil {
		return err
	}
	t.place++
	c.OrderKey, c.Place = key, t.place
	if l.taken {
		c.DueAt = time.Time{}
		l.added = append(l.added, c)
	}
	l.taken = true
	return nil
}

// leave takes a delivery that is about to end out of its lane, if it is in one,
// and reports whether the next one is due by that.
func (t *txn) leave(c *change) (released bool, err error) {
	if c.Place == 0 {
		return false, nil
	}
	name, place, blocked := laneName{c.Destination, c.OrderKey}, c.Place, c.Blocked()
	c.Place = 0
	c.dirty = true
	if blocked {
		return false, nil
	}
	l, err := t.lane(name)
	if err != nil {
		return false, err
	}
	next, err := t.succeed(name, l, place)
	return next != nil, err
}

// succeed makes the first blocked delivery of a lane its head, and returns it, nil
// for none.
func (t *txn) succeed(name laneName, l *lane, place uint64) (*change, error) {
	next, err := t.behind(name, l, place)
	if err != nil {
		return nil, err
	}
	if next == nil {
		l.taken = false
		return nil, nil
	}
	next.DueAt, next.Since = t.now, t.now
	next.dirty = true
	return next, nil
}

// behind returns the first blocked delivery of a lane, nil for none. Below place
// lies what has left the lane, which nobody has to walk over.
func (t *txn) behind(name laneName, l *lane, place uint64) (*change, error) {
	if l.was {
		if next, err := t.behindOnDisk(name, place); next != nil || err != nil {
			return next, err
		}
	}
	for _, c := range l.added {
		if c.Blocked() && !c.gone {
			return c, nil
		}
	}
	return nil, nil
}

func (t *txn) behindOnDisk(name laneName, place uint64) (*change, error) {
	if t.blocked == nil {
		it, err := t.s.iterate([]byte{spaceBlocked})
		if err != nil {
			return nil, err
		}
		t.blocked = it
	}
	prefix := appendLaneKey(nil, spaceBlocked, name)
	it, end := t.blocked, after(prefix)
	// With a limit, what has left the next lanes is not walked over either.
	state := it.SeekGEWithLimit(binary.BigEndian.AppendUint64(slices.Clip(prefix), place+1), end)
	for ; state == pebble.IterValid && bytes.HasPrefix(it.Key(), prefix); state = it.NextWithLimit(end) {
		c, err := t.load(parseDelivery(it.Key()))
		if err := explainRead(err); errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
			t.s.lose(parseDelivery(it.Key()), name.destination, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		if c.Blocked() && !c.gone {
			return c, nil
		}
	}
	return nil, it.Error()
}

// index sets the key of a delivery that is blocked now and deletes that of one
// that is not any more, as write does with due keys.
func (t *txn) index(c *change) {
	was, is := c.was.Blocked(), c.Blocked() && !c.gone
	switch {
	case was && !is:
		_ = t.batch.SingleDelete(appendBlockedKey(t.scratch[:0], &c.was), nil)
	case is && !was:
		_ = t.batch.Set(appendBlockedKey(t.scratch[:0], &c.Delivery), nil, nil)
	}
}

// writeLane does the same for a lane.
func (t *txn) writeLane(name laneName, l *lane) {
	t.scratch = appendLaneKey(t.scratch[:0], spaceLane, name)
	switch {
	case l.was && !l.taken:
		_ = t.batch.SingleDelete(t.scratch, nil)
	case l.taken && !l.was:
		_ = t.batch.Set(t.scratch, nil, nil)
	}
}

// dueValue returns what a due key of the head of a lane says, nil for a delivery
// in none: its lane can be found even where the delivery can not be read.
func dueValue(d *store.Delivery) []byte {
	if d.Place == 0 {
		return nil
	}
	return append(binary.BigEndian.AppendUint64(nil, d.Place), d.OrderKey...)
}

// loseHead takes a delivery out of its lane, if it is in one, that the scan has
// found due and can not read. It has no due key after that, so that this happens
// once.
func (sc *scan) loseHead(id store.DeliveryID) error {
	value := sc.due.Value()
	if len(value) < 8 || sc.s.lost[id] {
		return nil
	}
	t := sc.s.beginTxn()
	defer t.end()
	place, name := binary.BigEndian.Uint64(value), laneName{sc.queue.destination, string(value[8:])}
	l, err := t.lane(name)
	if err != nil {
		return err
	}
	next, err := t.succeed(name, l, place)
	if err != nil {
		return err
	}
	_ = t.batch.SingleDelete(sc.due.Key(), nil)
	t.commit()
	if next != nil {
		if key := appendDueKey(nil, &next.Delivery); sc.freed == nil || bytes.Compare(key, sc.freed) < 0 {
			sc.freed = key
		}
	}
	return nil
}
