// SPDX-License-Identifier: Apache-2.0

package pebble

import "github.com/caddy-relay/caddy-relay/relay/store"

// spareChanges bounds the memory that is kept from one transaction to the next, in
// deliveries: a group of messages and their outcomes.
const spareChanges = 512

// beginTxn starts a transaction. The caller has the writer's place.
func (s *Store) beginTxn() *txn {
	t := s.spare
	s.spare = nil
	if t == nil {
		t = &txn{s: s, byID: make(map[store.DeliveryID]*change), books: make(map[string]*store.Books)}
	}
	t.now, t.batch, t.newest, t.place = s.now(), s.db.NewBatch(), s.newest, s.place
	return t
}

// end gives back what the transaction has used. A batch that was committed has
// gone its own way.
func (t *txn) end() {
	if t.dedupe != nil {
		_ = t.dedupe.Close()
	}
	if t.blocked != nil {
		_ = t.blocked.Close()
	}
	if t.attempts != nil {
		_ = t.attempts.Close()
	}
	if t.batch != nil {
		_ = t.batch.Close()
	}
	for i := range t.spaces {
		_ = t.spaces[i].batch.Close()
	}
	if len(t.changes) <= spareChanges && len(t.books) <= spareChanges {
		t.forget()
		t.s.spare = t
	}
}

// forget keeps nothing but memory.
func (t *txn) forget() {
	for _, c := range t.changes {
		*c = change{}
	}
	clear(t.byID)
	clear(t.books)
	clear(t.keys)
	clear(t.buckets)
	*t = txn{
		s: t.s, spaces: t.spaces[:0], changes: t.changes[:0], byID: t.byID, books: t.books,
		keys: t.keys, buckets: t.buckets, scratch: t.scratch, key: t.key,
	}
}

// track adds a delivery to the transaction. Behind its changes lie those of former
// ones, which are used again.
func (t *txn) track(given change) *change {
	n := len(t.changes)
	if n == cap(t.changes) {
		t.changes = append(t.changes, new(change))
	} else if t.changes = t.changes[:n+1]; t.changes[n] == nil {
		t.changes[n] = new(change)
	}
	c := t.changes[n]
	*c = given
	t.byID[c.ID] = c
	return c
}
