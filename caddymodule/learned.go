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

// note remembers what the store says of an id, nil for a secret that it does not
// have. It may say so of one that is being kept: no secret is ever forgotten.
func (l *learnedSecrets) note(id string, value []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known[id] != nil {
		return
	}
	if l.known == nil {
		l.known = make(map[string][]byte)
	}
	if l.known[id] = bytes.Clone(value); value != nil {
		l.version.Add(1)
	}
}

// load asks the store for those ids that it has not been asked for.
func (l *learnedSecrets) load(ctx context.Context, engine *relay.Engine, ids []string) error {
	for _, id := range ids {
		if _, ok := l.get(id); ok {
			continue
		}
		if err := l.ask(ctx, engine, id); err != nil {
			return err
		}
	}
	return nil
}

// ask reads one secret from the store.
func (l *learnedSecrets) ask(ctx context.Context, engine *relay.Engine, id string) error {
	st, err := engine.Store()
	if err != nil {
		return err
	}
	entity, err := st.Entity(ctx, store.EntityKey{Kind: store.KindSecret, ID: id})
	switch kept, ok := entity.(*store.Secret); {
	case errors.Is(err, store.ErrNotFound):
		l.note(id, nil)
	case err != nil:
		return fmt.Errorf("reading a learned secret: %w", err)
	case ok:
		l.note(id, kept.Value)
	}
	return nil
}

// take keeps a secret under the first of the ids that is free, durably, unless it
// is kept already. It is false if it is not, and none is free.
func (l *learnedSecrets) take(ctx context.Context, engine *relay.Engine, ids []string, value []byte) (bool, error) {
	has := func(id string) bool {
		kept, _ := l.get(id)
		return kept != nil && subtle.ConstantTimeCompare(kept, value) == 1
	}
	if slices.ContainsFunc(ids, has) {
		return true, nil
	}
	for _, id := range ids {
		if kept, ok := l.get(id); !ok || kept != nil {
			continue
		}
		if err := l.keep(ctx, engine, id, value); err != nil {
			return false, err
		}
		if has(id) {
			return true, nil
		}
	}
	return false, nil
}

// keep writes a secret under an id, unless another was faster, and remembers the one
// that is there then.
func (l *learnedSecrets) keep(ctx context.Context, engine *relay.Engine, id string, value []byte) error {
	st, err := engine.Store()
	if err != nil {
		return err
	}
	err = st.PutEntity(ctx, &store.Secret{ID: id, Value: value})
	switch {
	case err == nil:
		l.note(id, value)
	case errors.Is(err, store.ErrConflict):
		return l.ask(ctx, engine, id)
	default:
		return fmt.Errorf("keeping a learned secret: %w", err)
	}
	return nil
}
