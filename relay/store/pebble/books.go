// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"maps"

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

// loadBooks reads the books.
func (s *Store) loadBooks() error {
	it, err := s.iterate([]byte{spaceBooks})
	if err != nil {
		return err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		b, err := decodeBooks(it.Value())
		if err != nil {
			return err
		}
		s.books[string(it.Key()[1:])] = &b
	}
	return it.Error()
}
