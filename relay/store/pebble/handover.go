// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// A delivery that is handed over with its lease as it is accepted has no due key:
// it is in memory, is attempted at once and mostly ends then, and the key would be
// set only to be deleted. Its record says so by the state Leased, which nothing
// else has on disk, and it gets its key when it is given back or has to wait. One
// that is in a lane always has its key, by which the lane is found where the record
// can not be read.
//
// After a crash those that are still open get their keys. They are found by a walk
// over the deliveries from a mark on: a message id that the disk keeps, below which
// there is none. The mark follows cohorts, not single deliveries, so that it is
// seldom written. A cohort that falls far behind, as where a destination hangs, is
// given keys, which bounds that walk.

const (
	// cohortMessages is how many messages are accepted, handed over or not, while a
	// cohort takes deliveries in, and cohortReach after how many it is given keys.
	cohortMessages = 4096
	cohortReach    = 16 * cohortMessages
)

// cohort are deliveries that were handed over one after the other.
type cohort struct {
	first store.MessageID // none is of a message with a smaller id
	since uint64          // how many messages had been accepted when it began
	open  int             // how many have no due key yet
}

// markKey is where the disk keeps the mark: no delivery of a message with a smaller
// id is without the due key that it should have. noMark says that none is.
var (
	markKey = []byte{spaceMeta, 'm'}
	noMark  = store.MessageID(bytes.Repeat([]byte{0xff}, idLen))
)

// handOver puts the deliveries that the transaction hands over into a cohort, gives
// keys to a cohort that has fallen behind, and moves the mark. It moves past what
// earlier transactions have ended, which become durable before this one, and past
// what this one gives keys to.
func (t *txn) handOver() {
	if t.messages == 0 {
		return
	}
	s := t.s
	t.cohorts = slices.Clone(s.cohorts)
	if c := s.cohorts; len(c) > 0 && s.accepted-c[0].since > s.opts.cohortReach {
		t.retire(c[0])
		t.cohorts = t.cohorts[1:]
	}
	if lowest := t.lowest(); lowest != noMark {
		if n := len(t.cohorts); n == 0 || s.full(t.cohorts[n-1]) {
			t.cohorts = append(t.cohorts, &cohort{first: lowest, since: s.accepted})
		}
		t.cohort = t.cohorts[len(t.cohorts)-1]
		if bytes.Compare(lowest[:], t.cohort.first[:]) < 0 {
			t.cohort.first = lowest
		}
	}
	t.cohorts = slices.DeleteFunc(t.cohorts, func(c *cohort) bool { return c != t.cohort && c.open == 0 && s.full(c) })
	t.mark = noMark
	for _, c := range t.cohorts {
		if bytes.Compare(c.first[:], t.mark[:]) < 0 {
			t.mark = c.first
		}
	}
	if t.mark != s.mark {
		_ = t.batch.Set(markKey, t.mark[:], nil)
	}
}

// full reports whether a cohort takes no more deliveries in.
func (s *Store) full(c *cohort) bool { return s.accepted-c.since >= s.opts.cohortMessages }

// lowest returns the smallest id of the messages that the transaction hands
// deliveries over of, noMark for none.
func (t *txn) lowest() store.MessageID {
	lowest := noMark
	for _, c := range t.changes {
		if c.bare && c.cohort == nil && bytes.Compare(c.ID.Message[:], lowest[:]) < 0 {
			lowest = c.ID.Message
		}
	}
	return lowest
}

// retire gives keys to all of a cohort.
func (t *txn) retire(old *cohort) {
	if old.open == 0 {
		return
	}
	for id, k := range t.s.kept {
		if k.cohort == old {
			c, _ := t.load(id) // what is kept is there
			c.bare = false
			c.dirty = true
		}
	}
}

// settle counts a delivery that was written where it belongs now.
func (t *txn) settle(c *change) {
	bare := c.bare && !c.gone
	switch {
	case c.cohort != nil && !bare:
		c.cohort.open--
		c.cohort = nil
	case c.cohort == nil && bare:
		t.cohort.open++
		c.cohort = t.cohort
	}
}

// recoverStep bounds how many deliveries one commit of a recovery looks at.
const recoverStep = 4096

// recovery gives keys to the deliveries that an earlier process had been handed and
// has not ended.
type recovery struct {
	s       *Store
	skipped bool // some deliveries could not be read
}

func (s *Store) recoverHandedOver() error {
	s.mark = noMark
	mark, done, err := s.db.Get(markKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	next := append([]byte{spaceDelivery}, mark...)
	if err := done.Close(); err != nil {
		return err
	}
	if len(next) != messageKey {
		return fmt.Errorf("%w: mark of %d bytes", store.ErrCorrupt, len(next)-1)
	}
	r := recovery{s: s}
	for next != nil && [idLen]byte(next[1:]) != noMark {
		b := s.db.NewBatch()
		if next, err = r.step(b, next); err != nil {
			return firstError(err, b.Close())
		}
		if next == nil {
			_ = b.Set(markKey, noMark[:], nil)
		}
		if err := s.commit(b).wait(); err != nil {
			return err
		}
	}
	return nil
}

// step does so for some deliveries, and returns the key from which the next ones
// come, nil for the end.
func (r *recovery) step(b *pebble.Batch, from []byte) (next []byte, err error) {
	it, err := r.s.between(from, []byte{spaceDelivery + 1})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	valid := it.First()
	for range recoverStep {
		if !valid {
			return r.behind(it.Error(), from)
		}
		from = append(from[:0], it.Key()...)
		if id := parseDelivery(from); id.N > 0 {
			r.recover(b, id, it.Value())
		}
		valid = it.Next()
	}
	return append(from, 0), nil
}

// recover gives a delivery its key, if it was handed over.
func (r *recovery) recover(b *pebble.Batch, id store.DeliveryID, row []byte) {
	d, err := decodeDelivery(id, row)
	if err != nil {
		r.s.logger.Error("a delivery can not be read: if it was under way when the process ended, it is not delivered; "+
			"replay its message", zap.Stringer("delivery", id), zap.Error(err))
		return
	}
	if d.State != store.Leased {
		return
	}
	d.State = store.Pending
	_ = b.Set(appendDueKey(nil, &d), dueValue(&d), nil)
	_ = b.Set(appendDeliveryKey(nil, id), appendDeliveryRecord(nil, &d, nil), nil)
}

// behind returns the key from which on to go where err is why the deliveries from
// a key on can not be read: that of the next message. An err of nil is the end.
func (r *recovery) behind(err error, from []byte) (next []byte, _ error) {
	if err == nil || !errors.Is(explainRead(err), store.ErrCorrupt) {
		return nil, err
	}
	if !r.skipped {
		r.skipped = true
		r.s.logger.Error("deliveries can not be read: those of them that were under way when the process ended are not delivered; "+
			"replay messages that stay open", zap.Stringer("from", store.MessageID(from[1:messageKey])), zap.Error(err))
	}
	messages, err := r.s.between(after(append([]byte{spaceMessage}, from[1:messageKey]...)), []byte{spaceMessage + 1})
	if err != nil {
		return nil, err
	}
	defer messages.Close()
	if !messages.First() {
		return nil, messages.Error()
	}
	return append([]byte{spaceDelivery}, messages.Key()[1:]...), nil
}
