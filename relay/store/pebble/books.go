// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Books returns the books of every destination that ever had a delivery.
func (s *Store) Books(ctx context.Context) (map[string]store.Books, error) {
	return reading(s, "reading books", func() (map[string]store.Books, error) {
		if err := s.lock(ctx); err != nil {
			return nil, err
		}
		defer s.unlock()
		books := make(map[string]store.Books, len(s.books))
		for destination, b := range s.books {
			books[destination] = *b
		}
		return books, nil
	})
}

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

// counter returns the counter that a delivery in the given state is counted by.
func counter(b *store.Books, state store.State) *uint64 {
	switch state {
	case store.Delivered:
		return &b.Delivered
	case store.Dead:
		return &b.Dead
	case store.Canceled:
		return &b.Canceled
	default:
		return &b.Open
	}
}
