// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Books returns the books of every destination that ever had a delivery.
func (s *Store) Books(context.Context) (map[string]store.Books, error) {
	end, err := s.begin("reading books")
	if err != nil {
		return nil, err
	}
	defer end()
	books := make(map[string]store.Books, len(s.books))
	for destination, b := range s.books {
		books[destination] = *b
	}
	return books, nil
}

// book returns the books of one destination, to be changed.
func (s *Store) book(destination string) *store.Books {
	b, ok := s.books[destination]
	if !ok {
		b = new(store.Books)
		s.books[destination] = b
	}
	return b
}
