// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// txn is a transaction: what one call changes, in one batch. It is built by the
// one who has the writer's place, reads its own changes, and changes nothing in
// memory before the batch has been applied. Its memory serves the next one, so that
// nothing of it, its changes included, may be used after its end.
type txn struct {
	s      *Store
	now    time.Time
	batch  *pebble.Batch
	spaces []spaceBatch

	changes []*change // in the order in which the deliveries were first touched
	byID    map[store.DeliveryID]*change
	books   map[string]*store.Books
	keys    map[store.DedupeKey]origin
	buckets map[uint32]bool
	newest  store.MessageID
	mark    store.MessageID
	dedupe  *pebble.Iterator
	lanes   map[laneName]*lane
	place   uint64
	blocked *pebble.Iterator
	notes   bool             // the time is written down, too
	room    []store.Delivery // for answers
	scratch []byte
	key     []byte

	messages uint64 // how many it accepts
	cohorts  []*cohort
	cohort   *cohort // of what it hands over, nil if that is nothing

	attempts *pebble.Iterator // over those of all deliveries
}

// change is a delivery that a transaction has loaded or made.
type change struct {
	store.Delivery
	was  store.Delivery // as the disk has it; its State is 0 for one that is new
	last *store.Attempt // the last attempt where that is kept in it, nil elsewhere

	spilled bool // that attempt has been given a key
	kept    bool // it was in memory before
	dirty   bool // it has to be written
	gone    bool // it is deleted with its message
	lost    bool // it can not be read, and nothing but its id is known

	cohort *cohort // in which it was handed over if it has no due key, else nil
	bare   bool    // it is to have none
}

// load returns a delivery to be looked at and changed.
func (t *txn) load(id store.DeliveryID) (*change, error) {
	if id.N == 0 {
		return nil, fmt.Errorf("delivery %s: %w", id, store.ErrNotFound)
	}
	if c, ok := t.byID[id]; ok {
		return c, nil
	}
	if k, ok := t.s.kept[id]; ok {
		return t.known(k), nil
	}
	t.scratch = appendDeliveryKey(t.scratch[:0], id)
	b, done, err := t.s.db.Get(t.scratch)
	if errors.Is(err, pebble.ErrNotFound) {
		return t.salvage(id, fmt.Errorf("delivery %s: %w", id, store.ErrNotFound))
	}
	if err != nil {
		return t.salvage(id, err)
	}
	defer done.Close()
	return t.read(id, b)
}

// known tracks a delivery that is in memory.
func (t *txn) known(k *kept) *change {
	return t.track(change{Delivery: k.Delivery, was: k.Delivery, kept: true, cohort: k.cohort, bare: k.cohort != nil})
}

// deliveries returns all deliveries of a message by number, and ErrNotFound
// where the message is unknown.
func (t *txn) deliveries(id store.MessageID) ([]*change, error) {
	prefix := append([]byte{spaceDelivery}, id[:]...)
	it, err := t.s.iterate(prefix)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var all []*change
	known := false
	for it.First(); it.Valid(); it.Next() {
		known = true
		did := parseDelivery(it.Key())
		if did.N == 0 {
			continue
		}
		c, ok := t.byID[did]
		if !ok {
			c, err = t.decode(did, it.Value())
			if errors.Is(err, store.ErrCorrupt) { // it is not known to have ended
				c, err = &change{Delivery: store.Delivery{ID: did, State: store.Pending}, lost: true}, nil
			}
			if err != nil {
				return nil, err
			}
		}
		all = append(all, c)
	}
	for n := uint32(len(all) + 1); ; n++ {
		c, ok := t.byID[store.DeliveryID{Message: id, N: n}]
		if !ok {
			break
		}
		all = append(all, c)
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	if !known && len(all) == 0 && !t.made(id) {
		return nil, fmt.Errorf("message %s: %w", id, store.ErrNotFound)
	}
	return all, nil
}

// made reports whether the message was accepted in this transaction, without a
// delivery.
func (t *txn) made(id store.MessageID) bool {
	_, ok := t.byID[store.DeliveryID{Message: id}]
	return ok
}

// decode tracks a delivery that was read from disk, unless memory knows better.
func (t *txn) decode(id store.DeliveryID, b []byte) (*change, error) {
	if k, ok := t.s.kept[id]; ok {
		return t.known(k), nil
	}
	return t.read(id, b)
}

// read tracks a delivery as it is on disk.
func (t *txn) read(id store.DeliveryID, b []byte) (*change, error) {
	d, last, err := decodeRow(id, b, true)
	if err != nil {
		return t.salvage(id, err)
	}
	if d.State == store.Leased { // it was handed over, and passed by when the store was opened
		d.State = store.Pending
	}
	return t.track(change{Delivery: d, was: d, last: last}), nil
}

// book returns the books of one destination, to be changed.
func (t *txn) book(destination string) *store.Books {
	b, ok := t.books[destination]
	if !ok {
		b = new(store.Books)
		if old, ok := t.s.books[destination]; ok {
			*b = *old
		}
		t.books[destination] = b
	}
	return b
}

// add makes a delivery, pending and due now, of a message with a body of that
// size.
func (t *txn) add(id store.DeliveryID, destination string, size int64) (*change, error) {
	if len(destination) > maxName {
		return nil, fmt.Errorf("destination id of %d bytes, at most %d: %w", len(destination), maxName, store.ErrInvalid)
	}
	c := t.track(change{dirty: true, Delivery: store.Delivery{
		ID:          id,
		Destination: destination,
		State:       store.Pending,
		DueAt:       t.now,
		CreatedAt:   t.now,
		Since:       t.now,
		BodySize:    size,
	}})
	t.book(destination).Move(0, c.State, size)
	return c, nil
}

// move puts a delivery into a state that is not Leased, and keeps its times and
// the books in step.
func (t *txn) move(c *change, to store.State) {
	t.book(c.Destination).Move(c.State, to, c.BodySize)
	c.State = to
	c.LeaseUntil = time.Time{}
	c.EndedAt = time.Time{}
	if to.Final() {
		c.DueAt = time.Time{}
		c.EndedAt = t.now
	}
	c.dirty = true
}

// commit writes the transaction and applies it. It returns what to wait for once
// the writer's place has been given up: a transaction that has changed nothing
// still rests on those before it.
func (t *txn) commit() *commit {
	t.handOver()
	for _, c := range t.changes {
		switch {
		case c.gone:
			if indexed(&c.was) && c.cohort == nil {
				_ = t.batch.SingleDelete(appendDueKey(t.scratch[:0], &c.was), nil)
			}
			t.index(c)
		case c.dirty:
			t.write(c)
		}
	}
	for name, l := range t.lanes {
		t.writeLane(name, l)
	}
	for destination, b := range t.books {
		t.scratch = appendBooksRecord(t.scratch[:0], b)
		_ = t.batch.Set(appendBooksKey(nil, destination), t.scratch, nil)
	}
	t.gather()
	if t.notes || !t.batch.Empty() {
		t.note()
	}
	if t.batch.Empty() {
		return t.s.last
	}
	c := t.s.commit(t.batch)
	t.batch = nil
	t.take()
	return c
}

// spaceBatch is what a transaction writes into one keyspace.
type spaceBatch struct {
	space byte
	batch *pebble.Batch
}

// in returns the batch for keys of one keyspace that every message has. What a
// batch holds is put into the memtable in its order, where a key that follows on
// the one before is found a place for at a fraction of the price: a group of
// messages goes in space by space.
func (t *txn) in(space byte) *pebble.Batch {
	for i := range t.spaces {
		if t.spaces[i].space == space {
			return t.spaces[i].batch
		}
	}
	b := t.s.db.NewBatch()
	t.spaces = append(t.spaces, spaceBatch{space, b})
	return b
}

// gather makes one batch of all that the transaction writes.
func (t *txn) gather() {
	for i := range t.spaces {
		// A batch can only be refused by a database that it is not of.
		_ = t.batch.Apply(t.spaces[i].batch, nil)
	}
}

// write puts a delivery and its index keys into the batch. An index key is set
// when it is not there and deleted when it is, never otherwise: that is what
// lets it be deleted by SingleDelete, which leaves nothing behind.
func (t *txn) write(c *change) {
	c.bare = c.bare && c.State == store.Leased
	was, is := indexed(&c.was) && c.cohort == nil, indexed(&c.Delivery) && !c.bare
	if was && (!is || !c.was.DueAt.Equal(c.DueAt)) {
		_ = t.in(spaceDue).SingleDelete(appendDueKey(t.scratch[:0], &c.was), nil)
	}
	if is && (!was || !c.was.DueAt.Equal(c.DueAt)) {
		_ = t.in(spaceDue).Set(appendDueKey(t.scratch[:0], &c.Delivery), dueValue(&c.Delivery), nil)
	}
	if c.was.Place != 0 || c.Place != 0 {
		t.index(c)
	}
	switch was, is := c.was.State == store.Dead, c.State == store.Dead; {
	case was && !is:
		_ = t.batch.SingleDelete(appendDelivery(append(t.scratch[:0], spaceDead), c.ID), nil)
	case is && !was:
		t.setDead(c)
	}
	t.writeRow(c)
}

// indexed reports whether a delivery has a due key, unless it was handed over.
func indexed(d *store.Delivery) bool { return d.State.Open() && !d.Blocked() }

// take brings memory up to the batch that was applied.
func (t *txn) take() {
	s := t.s
	s.enter(t.books)
	if t.messages > 0 {
		s.accepted += t.messages
		s.cohorts, s.mark = t.cohorts, t.mark
	}
	for _, c := range t.changes {
		if c.dirty || c.gone {
			t.settle(c)
		}
		switch {
		case c.gone:
			s.drop(c.ID)
		case !c.dirty:
		case c.State == store.Leased, c.kept && c.State == store.Pending && c.was.DueAt.Equal(c.DueAt):
			s.keep(&c.Delivery).cohort = c.cohort
		default:
			s.drop(c.ID)
			if indexed(&c.Delivery) {
				t.key = appendDueKey(t.key[:0], &c.Delivery)
				s.uncover(t.key, c.Destination)
			}
		}
	}
	s.newest = t.newest
	s.place = t.place
	for bucket := range t.buckets {
		s.addBucket(bucket)
	}
}
