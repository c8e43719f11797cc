// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// learnedSecrets are the secrets that handshakes have brought, as the store has
// them. They belong to an engine, so that what one handler learns all know, those
// of the next configuration too.
type learnedSecrets struct {
	// version grows with each secret.
	version atomic.Uint64

	mu    sync.Mutex
	known map[string][]byte // by id; nil for one that the store does not have
}

// learnedID is the id under which the store keeps an expected secret: neither a
// source nor a scheme has a colon in its name.
func learnedID(source, scheme, name string) string {
	return "learned:" + source + ":" + scheme + ":" + name
}

// get returns a secret, nil if it has not been learned. It is false as long as
// the store has not been asked.
func (l *learnedSecrets) get(id string) ([]byte, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	value, ok := l.known[id]
	return value, ok
}

// load asks the store for those ids that it has not been asked for.
func (l *learnedSecrets) load(ctx context.Context, engine *relay.Engine, ids []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if _, ok := l.known[id]; ok {
			continue
		}
		if err := l.ask(ctx, engine, id); err != nil {
			return err
		}
	}
	return nil
}

// ask reads one secret from the store. The caller holds the lock.
func (l *learnedSecrets) ask(ctx context.Context, engine *relay.Engine, id string) error {
	st, err := engine.Store()
	if err != nil {
		return err
	}
	if l.known == nil {
		l.known = make(map[string][]byte)
	}
	entity, err := st.Entity(ctx, store.EntityKey{Kind: store.KindSecret, ID: id})
	switch kept, ok := entity.(*store.Secret); {
	case errors.Is(err, store.ErrNotFound):
		l.known[id] = nil
	case err != nil:
		return fmt.Errorf("reading a learned secret: %w", err)
	case ok:
		l.known[id] = bytes.Clone(kept.Value)
		l.version.Add(1)
	}
	return nil
}

// take keeps a secret under the first of the ids that is free, durably, unless it
// is kept already. It is false if it is not, and none is free.
func (l *learnedSecrets) take(ctx context.Context, engine *relay.Engine, ids []string, value []byte) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.ContainsFunc(ids, func(id string) bool { return subtle.ConstantTimeCompare(l.known[id], value) == 1 }) {
		return true, nil
	}
	for _, id := range ids {
		if kept, ok := l.known[id]; !ok || kept != nil {
			continue
		}
		st, err := engine.Store()
		if err != nil {
			return false, err
		}
		err = st.PutEntity(ctx, &store.Secret{ID: id, Value: value})
		if err == nil {
			l.known[id] = bytes.Clone(value)
			l.version.Add(1)
			return true, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return false, fmt.Errorf("keeping a learned secret: %w", err)
		}
		if err := l.ask(ctx, engine, id); err != nil { // another process was first
			return false, err
		}
	}
	return false, nil
}
