// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// engines holds the engines of this process by what their store keeps its data
// in, so that they outlive the configurations that use them.
var engines = caddy.NewUsagePool()

// engineKey is the identity of a store.
type engineKey struct {
	module   string
	location string
}

// poolMu keeps an engine from being made for a store that another one is just
// closing.
var poolMu sync.Mutex

// pooledEngine is an engine with what it needs to outlive configurations: a
// logger that follows the one in force.
type pooledEngine struct {
	*relay.Engine
	key engineKey

	mu       sync.Mutex
	attached []attachment
	grace    time.Duration
	logger   *followingCore

	learned learnedSecrets
	fetcher *fetcher
	clocks  clocks
}

// attachment is a generation and the logger of its configuration.
type attachment struct {
	generation *relay.Generation
	log        *zap.Logger
}

// takeEngine returns the engine of a store and holds it until dropEngine is
// called once. A new engine has done nothing yet.
func takeEngine(key engineKey, module StoreModule) *pooledEngine {
	poolMu.Lock()
	defer poolMu.Unlock()
	value, _, _ := engines.LoadOrNew(key, func() (caddy.Destructor, error) {
		core := newFollowingCore()
		log := zap.New(core).Named("relay")
		open := func(ctx context.Context) (store.Store, error) { return module.Open(ctx, log.Named("store")) }
		return &pooledEngine{
			Engine:  relay.New(relay.Options{Open: open, Logger: log, Observer: metricsObserver{}}),
			key:     key,
			logger:  core,
			fetcher: newFetcher(),
		}, nil
	})
	return value.(*pooledEngine)
}

// dropEngine gives a reference back. The last one closes the engine.
func dropEngine(key engineKey) error {
	poolMu.Lock()
	defer poolMu.Unlock()
	_, err := engines.Delete(key)
	return err
}

// allEngines returns all engines of this process.
func allEngines() []*pooledEngine {
	var all []*pooledEngine
	engines.Range(func(_, value any) bool {
		all = append(all, value.(*pooledEngine))
		return true
	})
	return all
}

// otherEngines holds and returns the engines in this process but the one with
// that key.
func otherEngines(key engineKey) []*pooledEngine {
	poolMu.Lock()
	defer poolMu.Unlock()
	others := slices.DeleteFunc(allEngines(), func(e *pooledEngine) bool { return e.key == key })
	for _, other := range others {
		engines.LoadOrStore(other.key, other)
	}
	return others
}

// start opens the store unless it is open, and logs to the configuration that
// asks for it meanwhile.
func (p *pooledEngine) start(log *zap.Logger) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.logger.follow(log.Core())
	defer p.followLast()
	// The engine outlives the configuration that opens it.
	return p.Start(context.Background())
}

// followLast logs to the configuration in force.
func (p *pooledEngine) followLast() {
	if n := len(p.attached); n > 0 {
		p.logger.follow(p.attached[n-1].log.Core())
	}
}

// attach puts a generation in force, with the grace period and the logger of its
// configuration.
func (p *pooledEngine) attach(g *relay.Generation, grace time.Duration, log *zap.Logger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.grace = grace
	p.attached = append(p.attached, attachment{g, log})
	p.followLast()
	p.Attach(g)
}

// detach takes a generation back; the one before it is in force again.
func (p *pooledEngine) detach(g *relay.Generation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attached = slices.DeleteFunc(p.attached, func(a attachment) bool { return a.generation == g })
	p.followLast()
	p.Detach(g)
}

// Destruct closes the engine. The pool calls it when nobody holds it any more:
// when the process ends, and after a reload to a configuration without it. Then
// nobody has waited for its attempts yet, and cutting them off would repeat them.
func (p *pooledEngine) Destruct() error {
	if !caddy.Exiting() {
		p.mu.Lock()
		grace := p.grace
		p.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		p.Drain(ctx)
	}
	return p.Close()
}

// Interface guard
var _ caddy.Destructor = (*pooledEngine)(nil)
