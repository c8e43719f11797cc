// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// expectedSecret is a secret that a handshake is to bring, or has brought. It
// does not hold the secret.
type expectedSecret struct {
	// Source is the name of the relay.
	Source string `json:"source"`
	// Scheme is the name of the scheme.
	Scheme string `json:"scheme"`
	// Name is that of expect_secret.
	Name string `json:"name"`
	// Learned says that a handshake has brought it.
	Learned bool `json:"learned"`
	// LearnedAt is when, zero as long as none has.
	LearnedAt time.Time `json:"learned_at,omitzero"`
}

// expectedSecrets lists the secrets that the configuration expects handshakes to
// bring, by source, scheme and name, and whether they have. The engine is that of
// the caller, since a reload may take it from the app. The error is that of the
// store.
func (a *App) expectedSecrets(ctx context.Context, engine *pooledEngine) ([]expectedSecret, error) {
	all := []expectedSecret{}
	for _, b := range a.watcher.all() {
		for _, name := range b.config.Expected {
			expected := expectedSecret{Source: b.source, Scheme: b.scheme.Name, Name: name}
			if slices.ContainsFunc(all, expected.same) {
				continue // Caddy makes two of one block that serves http and https
			}
			kept, err := expected.kept(ctx, engine)
			switch {
			case err == nil:
				expected.Learned, expected.LearnedAt = true, kept.CreatedAt
			case !errors.Is(err, errNotLearned):
				return nil, err
			}
			all = append(all, expected)
		}
	}
	slices.SortFunc(all, func(x, y expectedSecret) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Scheme, y.Scheme), cmp.Compare(x.Name, y.Name))
	})
	return all, nil
}

func (e expectedSecret) same(other expectedSecret) bool {
	return e.Source == other.Source && e.Scheme == other.Scheme && e.Name == other.Name
}

// learnedSecret returns a secret that a handshake has brought, for an operator
// who has to type it at the provider, as Notion asks for. Whoever calls it decides
// who may see it. The error wraps errNotExpected, errNotLearned or is the store's;
// none contains the secret.
func (a *App) learnedSecret(ctx context.Context, engine *pooledEngine, e expectedSecret) (*store.Secret, error) {
	if !slices.ContainsFunc(a.watcher.all(), func(b *binding) bool {
		return b.source == e.Source && b.scheme.Name == e.Scheme && slices.Contains(b.config.Expected, e.Name)
	}) {
		return nil, fmt.Errorf("%w: relay '%s', scheme %s, name '%s'", errNotExpected, e.Source, e.Scheme, e.Name)
	}
	return e.kept(ctx, engine)
}

// kept reads a secret from the store. The error wraps errNotLearned or is the
// store's.
func (e expectedSecret) kept(ctx context.Context, engine *pooledEngine) (*store.Secret, error) {
	st, err := engine.Store()
	if err != nil {
		return nil, err
	}
	entity, err := st.Entity(ctx, store.EntityKey{Kind: store.KindSecret, ID: learnedID(e.Source, e.Scheme, e.Name)})
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNotLearned
	}
	if err != nil {
		return nil, fmt.Errorf("reading a learned secret: %w", err)
	}
	kept, ok := entity.(*store.Secret)
	if !ok {
		return nil, errNotLearned
	}
	return kept, nil
}
