// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Recall returns what a dedupe key stands for.
func (s *Store) Recall(ctx context.Context, key store.DedupeKey, window time.Duration) (store.Sighting, error) {
	return reading(s, "recalling a dedupe key", func() (store.Sighting, error) { return s.sighting(ctx, key, window) })
}

func (s *Store) sighting(ctx context.Context, key store.DedupeKey, window time.Duration) (seen store.Sighting, err error) {
	c, err := s.apply(ctx, func(t *txn) (err error) {
		var known bool
		if seen, known, err = t.recall(key, window); err != nil || known {
			return err
		}
		return store.ErrNotFound
	})
	if err == nil {
		err = c.waitFor(ctx)
	}
	return seen, err
}

// Remember keeps a dedupe key without a message.
func (s *Store) Remember(ctx context.Context, key store.DedupeKey, id store.MessageID, window time.Duration) (store.Sighting, error) {
	const doing = "remembering a dedupe key"
	end, err := s.begin(doing)
	if err != nil {
		return store.Sighting{}, err
	}
	defer end()
	var seen store.Sighting
	err = s.write(ctx, func(t *txn) error {
		if id.IsZero() {
			return fmt.Errorf("zero id: %w", store.ErrInvalid)
		}
		var known bool
		if seen, known, err = t.recall(key, window); err != nil || known {
			return err
		}
		t.remember(key, origin{message: id, acceptedAt: t.now})
		seen = store.Sighting{Message: id, AcceptedAt: t.now}
		return nil
	})
	if err != nil {
		return store.Sighting{}, s.answer(doing, err)
	}
	return seen, nil
}

// recall looks for a key that is known within window.
func (t *txn) recall(key store.DedupeKey, window time.Duration) (store.Sighting, bool, error) {
	if key.IsZero() {
		return store.Sighting{}, false, fmt.Errorf("zero key: %w", store.ErrInvalid)
	}
	o, ok, err := t.origin(key)
	if err != nil || !ok || t.s.age.outlived(o.acceptedAt, window, t.now) {
		return store.Sighting{}, false, err
	}
	return store.Sighting{Message: o.message, AcceptedAt: o.acceptedAt}, true, nil
}
