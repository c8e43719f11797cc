// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

// attendedStore is a store that calls before it reads or puts an entity.
type attendedStore struct {
	store.Store
	reads, puts func(id string)
}

func (s *attendedStore) Entity(ctx context.Context, key store.EntityKey) (store.Entity, error) {
	s.reads(key.ID)
	return s.Store.Entity(ctx, key)
}

func (s *attendedStore) PutEntity(ctx context.Context, e store.Entity) error {
	s.puts(e.Key().ID)
	return s.Store.PutEntity(ctx, e)
}

// attend starts an engine on such a store.
func attend(t *testing.T, reads, puts func(id string)) *relay.Engine {
	t.Helper()
	st := &attendedStore{Store: memory.New(memory.Options{}), reads: reads, puts: puts}
	engine := relay.New(relay.Options{Open: func(context.Context) (store.Store, error) { return st, nil }})
	if err := engine.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return engine
}

func TestAStoreThatHangsOverOneSecretKeepsNoOtherWaiting(t *testing.T) {
	hangs, release := make(chan struct{}, 2), make(chan struct{})
	hang := func(id string) {
		if id == "slow" {
			hangs <- struct{}{}
			<-release
		}
	}
	var learned learnedSecrets
	engine := attend(t, hang, func(string) {})
	loaded := make(chan error, 1)
	go func() { loaded <- learned.load(t.Context(), engine, []string{"slow"}) }()
	<-hangs
	others := make(chan error, 1)
	go func() {
		err := learned.load(t.Context(), engine, []string{"other"})
		if taken, failed := learned.take(t.Context(), engine, []string{"other"}, []byte("a")); !taken {
			err = errors.Join(err, failed, errors.New("not taken"))
		}
		others <- err
	}()
	select {
	case err := <-others:
		if value, ok := learned.get("other"); err != nil || !ok || string(value) != "a" {
			t.Errorf("%q is known, %v", value, err)
		}
	case <-time.After(10 * time.Second):
		t.Error("all wait for a store that hangs over one secret")
	}
	close(release)
	if err := <-loaded; err != nil {
		t.Error(err)
	}
}

func TestASecretThatComesTwiceAtOnceIsKeptOnce(t *testing.T) {
	ids := []string{"first", "second"}
	var learned learnedSecrets
	var engine *relay.Engine
	take := func(value string) {
		if taken, err := learned.take(t.Context(), engine, ids, []byte(value)); err != nil || !taken {
			t.Errorf("%s taken: %t, %v", value, taken, err)
		}
	}
	overtaken := false
	engine = attend(t, func(string) {}, func(string) {
		if !overtaken {
			overtaken = true
			take("a")
		}
	})
	if err := learned.load(t.Context(), engine, ids); err != nil {
		t.Fatal(err)
	}
	take("a")
	first, _ := learned.get("first")
	if second, ok := learned.get("second"); string(first) != "a" || second != nil || !ok {
		t.Errorf("%q and %q are known", first, second)
	}
	take("b")
	if second, _ := learned.get("second"); string(second) != "b" || learned.version.Load() != 2 {
		t.Errorf("%q is known, at version %d", second, learned.version.Load())
	}
	if taken, err := learned.take(t.Context(), engine, ids, []byte("c")); err != nil || taken {
		t.Errorf("one more is taken: %t, %v", taken, err)
	}
}
