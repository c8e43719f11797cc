// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"maps"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Books returns the books of every destination that ever had a delivery. It does
// not wait for the writer's place, whose holder may be waiting for the disk.
func (s *Store) Books(context.Context) (map[string]store.Books, error) {
	return reading(s, "reading books", func() (map[string]store.Books, error) {
		s.reading.RLock()
		defer s.reading.RUnlock()
		books := make(map[string]store.Books, len(s.books))
		for destination, b := range s.books {
			books[destination] = *b
		}
		return books, nil
	})
}

// enter makes the books what a transaction has made of them.
func (s *Store) enter(books map[string]*store.Books) {
	if len(books) == 0 {
		return
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	maps.Copy(s.books, books)
}

// loadBooks reads the books. Those that were written before open bytes were
// counted are completed.
func (s *Store) loadBooks() error {
	it, err := s.iterate([]byte{spaceBooks})
	if err != nil {
		return err
	}
	defer it.Close()
	var old []string
	for it.First(); it.Valid(); it.Next() {
		b, counted, err := decodeBooks(it.Value())
		if err != nil {
			return err
		}
		destination := string(it.Key()[1:])
		s.books[destination] = &b
		if !counted && b.Open > 0 {
			old = append(old, destination)
		}
	}
	if err := it.Error(); err != nil || len(old) == 0 {
		return err
	}
	return s.completeBooks(old)
}

// completeBooks counts the open bytes of destinations once and for all. It reads
// their open deliveries, a microsecond or so for each.
func (s *Store) completeBooks(destinations []string) error {
	batch := s.db.NewBatch()
	for _, destination := range destinations {
		b := s.books[destination]
		for _, space := range [...]byte{spaceDue, spaceBlocked} {
			n, err := s.openBytes(appendName([]byte{space}, destination))
			if err != nil {
				return firstError(err, batch.Close())
			}
			b.OpenBytes += n
		}
		_ = batch.Set(appendBooksKey(nil, destination), appendBooksRecord(nil, b), nil)
	}
	return s.commit(batch).wait()
}

// openBytes adds up the bodies of the deliveries that the index keys with a prefix
// speak of. One that can not be read counts nothing, as it will when it ends.
func (s *Store) openBytes(prefix []byte) (sum uint64, err error) {
	it, err := s.iterate(prefix)
	if err != nil {
		return 0, err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		id := parseDelivery(it.Key())
		value, done, err := s.db.Get(appendDeliveryKey(nil, id))
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if d, err := decodeDelivery(id, value); err == nil {
			sum += uint64(max(0, d.BodySize))
		}
		_ = done.Close()
	}
	return sum, it.Error()
}
