// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"fmt"
	"sync"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Options configure a Store.
type Options struct {
	// Now is the store's clock. The default is the wall clock's time of New, and from
	// there on monotonic time.
	Now func() time.Time
}

// Store keeps everything in memory, and nothing beyond Close.
type Store struct {
	clock func() time.Time

	mu       sync.Mutex
	closed   bool
	messages map[store.MessageID]*record
	keys     map[store.DedupeKey]origin
	open     map[string]map[store.DeliveryID]*store.Delivery
	lanes    map[laneName][]*store.Delivery
	place    uint64 // the last one given in any lane
	books    map[string]*store.Books
	entities map[store.EntityKey]store.Entity
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New(opts Options) *Store {
	if opts.Now == nil {
		base := time.Now()
		opts.Now = func() time.Time { return base.Add(time.Since(base)) }
	}
	return &Store{
		clock:    opts.Now,
		messages: make(map[store.MessageID]*record),
		keys:     make(map[store.DedupeKey]origin),
		open:     make(map[string]map[store.DeliveryID]*store.Delivery),
		lanes:    make(map[laneName][]*store.Delivery),
		books:    make(map[string]*store.Books),
		entities: make(map[store.EntityKey]store.Entity),
	}
}

// begin locks the store for one operation, which the returned function ends. It
// fails when the store is closed.
func (s *Store) begin(doing string) (end func(), err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", doing, store.ErrClosed)
	}
	return s.mu.Unlock, nil
}

// now returns the time that is written into what is stored.
func (s *Store) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

// Now returns the time by the store's clock.
func (s *Store) Now() time.Time { return s.now() }

// Age returns how much time has passed since t.
func (s *Store) Age(t time.Time) time.Duration { return max(0, s.now().Sub(t)) }

// Health tells whether the store is closed; nothing else can be wrong with it.
func (s *Store) Health() store.Health {
	h := store.Health{Location: "memory"}
	end, err := s.begin("checking store")
	if err != nil {
		h.Err = err
		return h
	}
	end()
	return h
}

// Caps tells what the store can do.
func (s *Store) Caps() store.Caps { return store.Caps{ExactExpiry: true} }

// Close ends the store. Closing it again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
