// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Recall returns what a dedupe key stands for.
func (s *Store) Recall(_ context.Context, key store.DedupeKey, window time.Duration) (store.Sighting, error) {
	end, err := s.begin("recalling a dedupe key")
	if err != nil {
		return store.Sighting{}, err
	}
	defer end()
	if key.IsZero() {
		return store.Sighting{}, fmt.Errorf("recalling a zero dedupe key: %w", store.ErrInvalid)
	}
	o, ok := s.keys[key]
	if !ok || !s.now().Before(o.acceptedAt.Add(window)) {
		return store.Sighting{}, fmt.Errorf("recalling a dedupe key: %w", store.ErrNotFound)
	}
	return store.Sighting{Message: o.message, AcceptedAt: o.acceptedAt}, nil
}

// Remember keeps a dedupe key without a message.
func (s *Store) Remember(_ context.Context, key store.DedupeKey, id store.MessageID, window time.Duration) (store.Sighting, error) {
	end, err := s.begin("remembering a dedupe key")
	if err != nil {
		return store.Sighting{}, err
	}
	defer end()
	if key.IsZero() || id.IsZero() {
		return store.Sighting{}, fmt.Errorf("remembering a dedupe key: zero key or id: %w", store.ErrInvalid)
	}
	now := s.now()
	o, ok := s.keys[key]
	if !ok || !now.Before(o.acceptedAt.Add(window)) {
		o = origin{message: id, acceptedAt: now}
		s.keys[key] = o
	}
	return store.Sighting{Message: o.message, AcceptedAt: o.acceptedAt}, nil
}
