// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Message returns a message.
func (s *Store) Message(_ context.Context, id store.MessageID) (*store.Message, error) {
	return reading(s, "reading message", func() (*store.Message, error) { return s.message(id) })
}

func (s *Store) message(id store.MessageID) (*store.Message, error) {
	b, done, err := s.db.Get(appendMessageKey(nil, id))
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, explainRead(err))
	}
	m, err := decodeMessage(id, b)
	return m, firstError(err, closeValue(done))
}

// closeValue ends the reading of a message. Only that tells whether it could be
// read: Get hands out an empty value where it could not.
func closeValue(done io.Closer) error {
	return explainRead(done.Close())
}

// illegible reports whether an error says that something is not there, or is and
// has rotted.
func illegible(err error) bool {
	err = explainRead(err)
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt)
}

// rotted reports whether an error of Pebble says that stored data has rotted.
func rotted(err error) bool { return pebble.IsCorruptionError(err) || errors.Is(err, errRotten) }

// explainRead says in the words of package store what Pebble says.
func explainRead(err error) error {
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return store.ErrNotFound
	case rotted(err):
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	default:
		return err
	}
}

// Deliveries returns the deliveries of a message by number.
func (s *Store) Deliveries(ctx context.Context, id store.MessageID) ([]store.Delivery, error) {
	return reading(s, "reading deliveries", func() (all []store.Delivery, err error) {
		err = s.read(ctx, func(t *txn) error {
			changes, err := t.deliveries(id)
			all = make([]store.Delivery, 0, len(changes))
			for _, c := range changes {
				all = append(all, c.Delivery)
			}
			return err
		})
		return all, err
	})
}

// read runs a transaction that changes nothing.
func (s *Store) read(ctx context.Context, look func(*txn) error) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	t := s.beginTxn()
	defer t.end()
	return look(t)
}

// ListMessages returns messages without their bodies, newest first.
func (s *Store) ListMessages(ctx context.Context, q store.MessageQuery) ([]store.Message, error) {
	return reading(s, "listing messages", func() ([]store.Message, error) { return s.listMessages(ctx, &q) })
}

func (s *Store) listMessages(ctx context.Context, q *store.MessageQuery) ([]store.Message, error) {
	if q.Limit < 1 {
		return nil, fmt.Errorf("limit %d: %w", q.Limit, store.ErrInvalid)
	}
	if q.Type != "" && q.EventID == "" {
		return s.listType(ctx, q)
	}
	prefix := listingPrefix(q)
	it, err := s.iterate(prefix)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var valid bool
	if q.Before.IsZero() {
		valid = it.Last()
	} else {
		valid = it.SeekLT(append(slices.Clip(prefix), q.Before[:]...))
	}
	var found []store.Message
	for valid && len(found) < q.Limit {
		if err := firstError(ctx.Err(), s.ended()); err != nil {
			return nil, err
		}
		key := it.Key()
		id := store.MessageID(key[len(key)-idLen:])
		m, err := s.head(it, id)
		if err != nil {
			if err := s.passMessage(ctx, id, err); err != nil {
				return nil, err
			}
			valid = it.SeekLT(slices.Clone(key)) // which forgets that a value could not be read
			continue
		}
		if selects(q, m) {
			found = append(found, *m)
		}
		valid = it.Prev()
	}
	return found, it.Error()
}

// passMessage goes on behind a message that can not be read, or is listed and not
// there: one must not hide all others.
func (s *Store) passMessage(ctx context.Context, id store.MessageID, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if !errors.Is(err, store.ErrCorrupt) {
		return err
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.tell("a message can not be read, and is left out of what is listed", store.DeliveryID{Message: id}, err)
	return nil
}

// listType lists messages of one type.
func (s *Store) listType(ctx context.Context, q *store.MessageQuery) ([]store.Message, error) {
	g := &gathering{s: s, source: q.Source, typ: q.Type, newest: true, limit: q.Limit}
	if !q.Before.IsZero() {
		g.to = q.Before[:]
	}
	g.fits = func(id store.MessageID) (*store.Message, error) {
		m, err := s.headOf(id)
		if err != nil {
			return nil, s.passMessage(ctx, id, err)
		}
		if !selects(q, m) {
			return nil, nil
		}
		return m, nil
	}
	if err := g.run(ctx); err != nil {
		return nil, err
	}
	var found []store.Message
	for _, one := range g.found {
		found = append(found, *one.message)
	}
	return found, nil
}

// listingPrefix returns the prefix of the keys that say most about what a query
// selects. All of them end in the message id.
func listingPrefix(q *store.MessageQuery) []byte {
	switch {
	case q.EventID != "":
		return appendEventPrefix(nil, q.EventID)
	case q.Source != "":
		return appendSourcePrefix(nil, q.Source)
	default:
		return []byte{spaceMessage}
	}
}

// head returns the message that an iterator over listing keys or messages points
// to, without its body.
func (s *Store) head(it *pebble.Iterator, id store.MessageID) (*store.Message, error) {
	if it.Key()[0] != spaceMessage {
		return s.headOf(id)
	}
	head, _, err := splitMessage(it.Value())
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	return decodeHead(id, head)
}

func selects(q *store.MessageQuery, m *store.Message) bool {
	return (q.Source == "" || q.Source == m.Source) &&
		(q.Type == "" || q.Type == m.Type) &&
		(q.EventID == "" || q.EventID == m.EventID) &&
		(q.Tenant == "" || q.Tenant == m.Tenant) &&
		within(m.ReceivedAt, q.From, q.To)
}

// within reports whether t is in a period whose ends may be open.
func within(t, from, to time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (to.IsZero() || t.Before(to))
}
