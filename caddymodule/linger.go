// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
)

// lingerGap is how often a store that the configuration has left is looked at.
const lingerGap = time.Second

// lingering keeps the engines of stores that a reload has left until their open
// deliveries are done. Their deliveries run by the configuration in force.
type lingering struct {
	generation *relay.Generation
	log        *zap.Logger
	stop       context.CancelFunc
	done       sync.WaitGroup

	mu   sync.Mutex
	left []*pooledEngine
}

// linger begins to look after all engines of the process that are not the one of
// this configuration.
func (a *App) linger() *lingering {
	ctx, cancel := context.WithCancel(context.Background())
	l := &lingering{generation: a.generation, log: a.log, stop: cancel}
	l.left = otherEngines(a.key)
	for _, engine := range l.left {
		engine.attach(a.generation, a.grace(), a.log)
		l.done.Go(func() { l.watch(ctx, engine) })
	}
	return l
}

// engines returns the engines that are still looked after.
func (l *lingering) engines() []*pooledEngine {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*pooledEngine(nil), l.left...)
}

// end gives all engines back, whether their deliveries are done or not.
func (l *lingering) end() {
	if l == nil {
		return
	}
	l.stop()
	l.done.Wait()
}

// watch holds an engine until it has no open deliveries, or until ctx ends.
func (l *lingering) watch(ctx context.Context, engine *pooledEngine) {
	log := l.log.With(zap.String("store", engine.key.location))
	ticker := time.NewTicker(lingerGap)
	defer ticker.Stop()
	defer l.release(engine, log)
	told := false
	for {
		select {
		case <-ctx.Done():
			l.leave(engine, log)
			return
		case <-ticker.C:
		}
		open, orphans, err := openDeliveries(ctx, engine, l.generation)
		switch {
		case errors.Is(err, relay.ErrNotReady), errors.Is(err, relay.ErrClosed):
			return
		case err != nil:
			log.Warn("reading the books of the former store", zap.Error(err))
			return
		case open == 0:
			if told || orphans > 0 {
				log.Info("all deliveries of the former store that this configuration can make are done, closing it", zap.Uint64("left", orphans))
			}
			return
		case !told:
			told = true
			log.Info("the configuration has another store now; the former one stays open until its open deliveries are done", zap.Uint64("open", open))
		}
	}
}

// leave tells the operator what stays behind, when the process ends, in a store
// that no configuration names any more. After a reload the next configuration
// goes on looking after it.
func (l *lingering) leave(engine *pooledEngine, log *zap.Logger) {
	if !caddy.Exiting() {
		return
	}
	open, orphans, err := openDeliveries(context.Background(), engine, l.generation)
	if err == nil && open+orphans > 0 {
		log.Warn("open deliveries stay in the former store; to have them delivered, start with a configuration that names it",
			zap.Uint64("open", open+orphans))
	}
}

// openDeliveries counts what an engine can still deliver by a generation, and
// what it can not.
func openDeliveries(ctx context.Context, engine *pooledEngine, g *relay.Generation) (open, orphans uint64, err error) {
	books, err := engine.Books(ctx)
	if err != nil {
		return 0, 0, err
	}
	for id, b := range books {
		if serves(g, id) {
			open += b.Open
		} else {
			orphans += b.Open
		}
	}
	return open, orphans, nil
}

// release takes the generation back from an engine and gives it up.
func (l *lingering) release(engine *pooledEngine, log *zap.Logger) {
	engine.detach(l.generation)
	l.mu.Lock()
	for i, other := range l.left {
		if other == engine {
			l.left = append(l.left[:i], l.left[i+1:]...)
			break
		}
	}
	l.mu.Unlock()
	if err := dropEngine(engine.key); err != nil {
		log.Error("closing the former store", zap.Error(err))
	}
}
