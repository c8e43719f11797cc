// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// pageRows bounds how many deliveries are looked at while others wait, and
	// pageMessages how many messages with all of theirs.
	pageRows     = 500
	pageMessages = 100

	// maxSorted bounds the open deliveries of a destination that are found by its
	// due keys, which come in another order than that of a list.
	maxSorted = 100_000
)

// ListDeliveries returns deliveries by id.
func (s *Store) ListDeliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	return reading(s, "listing deliveries", func() ([]store.Delivery, error) { return s.listDeliveries(ctx, &q) })
}

func (s *Store) listDeliveries(ctx context.Context, q *store.DeliveryQuery) ([]store.Delivery, error) {
	if q.Limit < 1 {
		return nil, fmt.Errorf("limit %d: %w", q.Limit, store.ErrInvalid)
	}
	w, err := s.walk(ctx, q)
	for err == nil && !w.done && len(w.found) < q.Limit {
		if w.ahead != nil {
			err = w.ahead(ctx)
		}
		if err == nil {
			err = s.read(ctx, func(t *txn) error { return firstError(w.page(t), s.ended()) })
		}
	}
	return w.found, err
}

// walk goes through the deliveries that a query may select, by id, along the
// keys that say most about them. The query's After is how far it has come.
type walk struct {
	s     *Store
	q     *store.DeliveryQuery
	found []store.Delivery
	done  bool
	ahead func(context.Context) error // looks for the next page, and keeps nobody waiting; nil for none
	page  func(*txn) error

	messages []store.MessageID // for typed

	space   byte               // of the keys of rows
	listing []byte             // prefix of the keys of listed
	ids     []store.DeliveryID // for sorted
	heads   bool               // the message has to be looked at
	last    store.MessageID    // whose head was looked at last
	fits    bool               // and whether it is selected
}

// walk chooses the way for a query.
func (s *Store) walk(ctx context.Context, q *store.DeliveryQuery) (*walk, error) {
	w := &walk{s: s, q: q, space: spaceDelivery, heads: q.Source != "" || q.Type != "" || q.EventID != ""}
	w.page = w.rows
	open, dead, err := s.counts(ctx, q.Destination)
	if err != nil {
		return w, err
	}
	wantsOpen := q.Open || q.State.Open()
	switch {
	case wantsOpen && (open == 0 || q.State.Final()), q.State == store.Dead && dead == 0:
		w.done = true
	case q.EventID != "":
		w.list()
	case q.State == store.Dead:
		w.space = spaceDead
	case wantsOpen && q.Destination != "" && open <= maxSorted:
		w.page = w.sorted
		w.ids, err = s.aheadIDs(ctx, q)
	case w.heads:
		w.list()
	}
	return w, err
}

// counts returns how many open and dead deliveries a destination has, or all of
// them have.
func (s *Store) counts(ctx context.Context, destination string) (open, dead uint64, err error) {
	if err := s.lock(ctx); err != nil {
		return 0, 0, err
	}
	defer s.unlock()
	for id, b := range s.books {
		if destination == "" || destination == id {
			open, dead = open+b.Open, dead+b.Dead
		}
	}
	return open, dead, nil
}

// list has the walk follow the listing keys of messages.
func (w *walk) list() {
	if w.q.Type != "" && w.q.EventID == "" {
		w.ahead, w.page = w.gather, w.typed
		return
	}
	w.page = w.listed
	w.listing = listingPrefix(&store.MessageQuery{Source: w.q.Source, EventID: w.q.EventID})
}

// rows looks at the next deliveries by their own keys.
func (w *walk) rows(t *txn) error {
	prefix := []byte{w.space}
	lower := append(slices.Clip(prefix), idAt(w.q.From)...)
	if next := append(appendDelivery(slices.Clip(prefix), w.q.After), 0); string(next) > string(lower) {
		lower = next
	}
	it, err := w.s.between(lower, w.upper(prefix))
	if err != nil {
		return err
	}
	defer it.Close()
	valid := it.First()
	for row := 0; valid && row < pageRows; row++ {
		id := parseDelivery(it.Key())
		w.q.After = id
		if id.N > 0 {
			c, err := t.row(w.space, id, it)
			if err == nil {
				err = w.take(c)
			} else {
				err = w.pass(id, err)
			}
			if err != nil || len(w.found) == w.q.Limit {
				return err
			}
		}
		valid = it.Next()
	}
	w.done = !valid
	return it.Error()
}

// pass goes on behind a delivery that can not be read: one must not hide all
// others.
func (w *walk) pass(id store.DeliveryID, err error) error {
	if !illegible(err) {
		return explainRead(err)
	}
	w.s.tell("a delivery can not be read, and is left out of what is listed", id, err)
	return nil
}

// row loads the delivery that an iterator over deliveries or dead ones is at.
func (t *txn) row(space byte, id store.DeliveryID, it *pebble.Iterator) (*change, error) {
	if space == spaceDelivery {
		return t.decode(id, it.Value())
	}
	return t.load(id)
}

// upper returns the end of the keys with a prefix before the query's To.
func (w *walk) upper(prefix []byte) []byte {
	if w.q.To.IsZero() {
		return after(prefix)
	}
	return append(slices.Clip(prefix), idAt(w.q.To)...)
}

// idAt returns the smallest id of a message that was received at t or later, nil
// for the zero time.
func idAt(t time.Time) []byte {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	var id ulid.ULID
	_ = id.SetTime(min(uint64(max(0, ms)), ulid.MaxTime()))
	return id[:]
}

// listed looks at the next messages by their listing keys, each with all of its
// deliveries.
func (w *walk) listed(t *txn) error {
	lower := append(slices.Clip(w.listing), idAt(w.q.From)...)
	if next := append(slices.Clip(w.listing), w.q.After.Message[:]...); string(next) > string(lower) {
		lower = next
	}
	it, err := w.s.between(lower, w.upper(w.listing))
	if err != nil {
		return err
	}
	defer it.Close()
	valid := it.First()
	for row := 0; valid && row < pageMessages; row++ {
		var id store.MessageID
		key := it.Key()
		copy(id[:], key[len(key)-idLen:])
		if err := w.message(t, id); err != nil || len(w.found) == w.q.Limit {
			return err
		}
		w.q.After = store.DeliveryID{Message: id, N: math.MaxUint32}
		valid = it.Next()
	}
	w.done = !valid
	return it.Error()
}

// message looks at the deliveries of one message that the walk has not come to
// yet.
func (w *walk) message(t *txn, id store.MessageID) error {
	all, err := t.deliveries(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	for _, c := range all {
		if err != nil || len(w.found) == w.q.Limit {
			return err
		}
		if !c.lost && compareIDs(c.ID, w.q.After) > 0 {
			w.q.After = c.ID
			err = w.take(c)
		}
	}
	return err
}

// aheadIDs returns those of the open deliveries of a destination that are listed next,
// which it looks for once in all pages.
func (s *Store) aheadIDs(ctx context.Context, q *store.DeliveryQuery) ([]store.DeliveryID, error) {
	if q.Ahead == nil {
		return s.openIDs(ctx, q)
	}
	ids, ok := q.Ahead.Known.([]store.DeliveryID)
	if !ok {
		whole := *q
		whole.After = store.DeliveryID{}
		var err error
		if ids, err = s.openIDs(ctx, &whole); err != nil {
			return nil, err
		}
		q.Ahead.Known = ids
	}
	next, found := slices.BinarySearchFunc(ids, q.After, compareIDs)
	if found {
		next++
	}
	return ids[next:], nil
}

// openIDs returns the open deliveries of a destination that a query may select,
// by id. Only its beginning keeps others waiting.
func (s *Store) openIDs(ctx context.Context, q *store.DeliveryQuery) ([]store.DeliveryID, error) {
	ids, keys, err := s.openKeys(ctx, q.Destination)
	for _, it := range keys {
		defer it.Close()
		for valid := it.First(); valid && err == nil; valid = it.Next() {
			ids = append(ids, parseDelivery(it.Key()))
			err = firstError(ctx.Err(), s.ended())
		}
		err = firstError(err, it.Error())
	}
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(ids, func(id store.DeliveryID) bool {
		return compareIDs(id, q.After) <= 0 || !within(id.Message.Time(), q.From, q.To)
	})
	slices.SortFunc(ids, compareIDs)
	return slices.Compact(ids), nil
}

// openKeys returns the open deliveries of a destination that are kept in memory,
// and iterators over the keys of the others: those that are due, and those that
// are blocked in a lane. The caller closes the iterators.
func (s *Store) openKeys(ctx context.Context, destination string) (ids []store.DeliveryID, keys []*pebble.Iterator, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, nil, err
	}
	defer s.unlock()
	from := appendDuePrefix(nil, destination)
	end := after(from)
	if q, ok := s.queues[destination]; ok {
		from = q.from
		for _, k := range q.heap {
			ids = append(ids, k.ID)
		}
	}
	due, err := s.between(from, end)
	if err != nil {
		return nil, nil, err
	}
	blocked, err := s.iterate(appendName([]byte{spaceBlocked}, destination))
	if err != nil {
		return nil, []*pebble.Iterator{due}, err
	}
	return ids, []*pebble.Iterator{due, blocked}, nil
}

// sorted looks at the next of the ids.
func (w *walk) sorted(t *txn) error {
	n := min(len(w.ids), pageRows)
	for _, id := range w.ids[:n] {
		c, err := t.load(id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err == nil {
			err = w.take(c)
		} else {
			err = w.pass(id, err)
		}
		if err != nil || len(w.found) == w.q.Limit {
			return err
		}
	}
	w.ids = w.ids[n:]
	w.done = len(w.ids) == 0
	return nil
}

// take adds a delivery to what was found, if the query selects it.
func (w *walk) take(c *change) error {
	q, d := w.q, &c.Delivery
	if q.Destination != "" && q.Destination != d.Destination || q.State != 0 && q.State != d.State ||
		q.Open && !d.State.Open() || !within(d.ID.Message.Time(), q.From, q.To) {
		return nil
	}
	if w.heads {
		if fits, err := w.fitsHead(d.ID.Message); err != nil || !fits {
			return err
		}
	}
	w.found = append(w.found, *d)
	return nil
}

// fitsHead reports whether the message is one that the query selects.
func (w *walk) fitsHead(id store.MessageID) (bool, error) {
	if id == w.last {
		return w.fits, nil
	}
	m, err := w.s.headOf(id)
	w.last, w.fits = id, false
	if illegible(err) {
		return false, nil // nobody can tell whether it would be selected
	}
	if err != nil {
		return false, err
	}
	w.fits = selects(&store.MessageQuery{Source: w.q.Source, Type: w.q.Type, EventID: w.q.EventID}, m)
	return w.fits, nil
}

// headOf reads a message without its body.
func (s *Store) headOf(id store.MessageID) (*store.Message, error) {
	b, done, err := s.db.Get(appendMessageKey(nil, id))
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, explainRead(err))
	}
	var m *store.Message
	head, _, err := splitMessage(b)
	if err == nil {
		m, err = decodeHead(id, head)
	}
	if err := firstError(err, closeValue(done)); err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	return m, nil
}

// between returns an iterator over the keys from lower on and before upper.
func (s *Store) between(lower, upper []byte) (*pebble.Iterator, error) {
	if string(lower) > string(upper) {
		lower = upper
	}
	return s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper, KeyTypes: pebble.IterKeyTypePointsOnly})
}
