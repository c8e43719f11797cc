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

// ExpectedSecret is a secret that a handshake is to bring, or has brought. It
// does not hold the secret.
type ExpectedSecret struct {
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

// ExpectedSecrets lists the secrets that the configuration expects handshakes to
// bring, by source, scheme and name, and whether they have. The error is that of
// the store.
func (a *App) ExpectedSecrets(ctx context.Context) ([]ExpectedSecret, error) {
	var all []ExpectedSecret
	for _, b := range a.watcher.all() {
		for _, name := range b.config.Expected {
			expected := ExpectedSecret{Source: b.source, Scheme: b.scheme.Name, Name: name}
			if slices.ContainsFunc(all, expected.same) {
				continue // Caddy makes two of one block that serves http and https
			}
			kept, err := a.learnedSecret(ctx, expected)
			switch {
			case err == nil:
				expected.Learned, expected.LearnedAt = true, kept.CreatedAt
			case !errors.Is(err, ErrNotLearned):
				return nil, err
			}
			all = append(all, expected)
		}
	}
	slices.SortFunc(all, func(x, y ExpectedSecret) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.Scheme, y.Scheme), cmp.Compare(x.Name, y.Name))
	})
	return all, nil
}

func (e ExpectedSecret) same(other ExpectedSecret) bool {
	return e.Source == other.Source && e.Scheme == other.Scheme && e.Name == other.Name
}

// LearnedSecret returns a secret that a handshake has brought, for an operator
// who has to type it at the provider, as Notion asks for. Whoever calls it decides
// who may see it. The error wraps ErrNotExpected, ErrNotLearned or is the store's;
// none contains the secret.
func (a *App) LearnedSecret(ctx context.Context, source, scheme, name string) ([]byte, error) {
	wanted := ExpectedSecret{Source: source, Scheme: scheme, Name: name}
	if !slices.ContainsFunc(a.watcher.all(), func(b *binding) bool {
		return b.source == source && b.scheme.Name == scheme && slices.Contains(b.config.Expected, name)
	}) {
		return nil, fmt.Errorf("%w: relay '%s', scheme %s, name '%s'", ErrNotExpected, source, scheme, name)
	}
	kept, err := a.learnedSecret(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return slices.Clone(kept.Value), nil
}

// learnedSecret reads a secret from the store.
func (a *App) learnedSecret(ctx context.Context, e ExpectedSecret) (*store.Secret, error) {
	st, err := a.engine.Store()
	if err != nil {
		return nil, err
	}
	entity, err := st.Entity(ctx, store.EntityKey{Kind: store.KindSecret, ID: learnedID(e.Source, e.Scheme, e.Name)})
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNotLearned
	}
	if err != nil {
		return nil, fmt.Errorf("reading a learned secret: %w", err)
	}
	kept, ok := entity.(*store.Secret)
	if !ok {
		return nil, ErrNotLearned
	}
	return kept, nil
}
