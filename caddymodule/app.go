// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
)

const (
	defaultRetention   = 72 * time.Hour
	defaultGracePeriod = 4 * time.Second
)

// App keeps what relays accept and delivers it. It needs no configuration: the
// relays of a configuration bring it with them.
type App struct {
	// Where messages are kept. Default: pebble, in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=relay.stores inline_key=module"`

	// How long delivered messages are kept after their last delivery ended; -1
	// means for ever. Default: 72h.
	Retention caddy.Duration `json:"retention,omitempty"`

	// How long messages with a dead delivery are kept; -1 means for ever. Default:
	// for ever.
	RetentionDead caddy.Duration `json:"retention_dead,omitempty"`

	// How long attempts under way may go on when Caddy is stopped. Default: 4s.
	GracePeriod caddy.Duration `json:"grace_period,omitempty"`

	// The memory for bodies in flight, in bytes. One source gets at most half of
	// it, so it is raised to twice the largest body that a relay takes. Default:
	// 64 MiB, or a quarter of GOMEMLIMIT where that is less.
	MaxBuffer int64 `json:"max_buffer,omitempty"`

	// The space on the disk that the store may take, in bytes. Finished messages are
	// removed before their time to stay under it, the oldest first; where that is not
	// enough, nothing is accepted. Default: no bound.
	MaxDisk int64 `json:"max_disk,omitempty"`

	// The free space of the store's volume, in bytes, below which nothing is
	// accepted; deliveries go on. It excludes `min_free_percent`. Default: see there.
	MinFree int64 `json:"min_free,omitempty"`

	// The same as a part of the volume. Default: 5, but at least 128 MiB and at most
	// 4 GiB.
	MinFreePercent float64 `json:"min_free_percent,omitempty"`

	// What happens when the store has met an error of its disk: `degrade` refuses
	// what comes with 503 and opens the store again until that succeeds, while all
	// else that Caddy serves goes on; `exit` ends the process with the exit code 3, for
	// a supervisor to start it again. Default: `degrade`.
	OnStorageFailure string `json:"on_storage_failure,omitempty"`

	// Whether Caddy's admin endpoint shows the bodies and headers of messages, and
	// what apps have answered. Default: false.
	AdminReveal bool `json:"admin_reveal,omitempty"`

	ctx    caddy.Context
	log    *zap.Logger
	module StoreModule
	key    engineKey
	engine *pooledEngine

	watcher watcher
	fetcher *fetcher
	health  *healthWatch

	mu         sync.Mutex
	sources    map[string]*source
	generation *relay.Generation
	lingering  *lingering
	warnings   sync.Map
}

// source is what a relay tells the app about itself.
type source struct {
	name         string
	origin       string
	digest       [32]byte
	destinations []*Destination
	maxSize      int64
	backlog      int64
	window       time.Duration
	shedLast     bool
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay", New: func() caddy.Module { return new(App) }}
}

// Provision takes a handle on the engine of the store. Nothing is opened: a
// configuration that is only checked must not touch the store of a running one.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.log = ctx, ctx.Logger()
	a.sources = make(map[string]*source)
	a.watcher.log = a.log
	if a.GracePeriod < 0 || a.MaxBuffer < 0 {
		return fmt.Errorf("grace_period and max_buffer must not be negative")
	}
	if err := a.checkDisk(); err != nil {
		return err
	}
	if err := a.loadStore(ctx); err != nil {
		return err
	}
	a.engine = takeEngine(a.key, a.module)
	a.fetcher = a.engine.fetcher
	a.watcher.published = a.fetcher.keys
	return registerMetrics(ctx.GetMetricsRegistry())
}

// loadStore loads the store's module, or the default one.
func (a *App) loadStore(ctx caddy.Context) error {
	var guest any
	var err error
	if a.StoreRaw != nil {
		guest, err = ctx.LoadModule(a, "StoreRaw")
	} else {
		guest, err = ctx.LoadModuleByID("relay.stores.pebble", nil)
	}
	if err != nil {
		return fmt.Errorf("loading store: %w", err)
	}
	module, ok := guest.(StoreModule)
	if !ok {
		return fmt.Errorf("store is a %T, which is no caddymodule.StoreModule", guest)
	}
	a.module = module
	a.key = engineKey{module: caddy.GetModuleID(guest), location: module.Location()}
	return nil
}

// register makes a source known. Two of one name must be the same: Caddy makes
// two of one block that serves http and https.
func (a *App) register(s *source) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	other, ok := a.sources[s.name]
	if !ok {
		a.sources[s.name] = s
		return nil
	}
	if other.digest == s.digest {
		return nil
	}
	return fmt.Errorf("two relays are named '%s' (%s, %s): give one a name", s.name, orUnknown(other.origin), orUnknown(s.origin))
}

// orUnknown writes an origin in a sentence.
func orUnknown(origin string) string {
	if origin == "" {
		return "a relay without origin"
	}
	return origin
}

// Start opens the store and puts this configuration in force.
func (a *App) Start() error {
	// The listeners are open already: what is accepted must find its limits in force.
	g := a.assemble()
	a.engine.attach(g, a.grace(), a.log)
	if err := a.engine.start(a.log); err != nil {
		a.engine.detach(g)
		return err
	}
	a.generation = g
	a.lingering = a.linger()
	a.watcher.start()
	a.health = watchHealth(a.engine, a.destinations())
	a.warnOrphans()
	if a.AdminReveal {
		a.log.Warn("admin_reveal is set: bodies and credentials of messages are shown to whoever reaches the admin endpoint")
	}
	a.warnSites()
	return nil
}

// assemble makes the generation of this configuration.
func (a *App) assemble() *relay.Generation {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := &relay.Generation{
		Retention:     defaultRetention,
		RetentionDead: max(0, time.Duration(a.RetentionDead)),
		DedupeWindow:  defaultWindow,
		Disk:          relay.DiskLimits{MaxUsed: a.MaxDisk, MinFree: a.MinFree, MinFreePercent: a.MinFreePercent},
	}
	if a.OnStorageFailure == failureExit {
		g.Failed = a.exit
	}
	switch {
	case a.Retention < 0:
		g.Retention = 0
	case a.Retention > 0:
		g.Retention = time.Duration(a.Retention)
	}
	var largest int64
	for _, name := range slices.Sorted(maps.Keys(a.sources)) {
		s := a.sources[name]
		for _, d := range s.destinations {
			g.Destinations = append(g.Destinations, d.engine())
		}
		largest = max(largest, s.maxSize)
		g.ShedLast = g.ShedLast || s.shedLast
		if s.backlog > 0 {
			g.Backlogs = append(g.Backlogs, relay.BacklogLimit{Source: name, Max: s.backlog, Reserve: s.shedLast})
		}
		g.DedupeWindow = max(g.DedupeWindow, s.window)
	}
	g.MaxBuffer = a.maxBuffer(largest)
	return g
}

// sourceNames lists the names of all sources.
func (a *App) sourceNames() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.sources))
}

// destinations lists the destinations of all sources.
func (a *App) destinations() []*Destination {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*Destination
	for _, s := range a.sources {
		all = append(all, s.destinations...)
	}
	return all
}

// maxBuffer is the memory for bodies, given the largest body that any relay
// takes.
func (a *App) maxBuffer(largest int64) int64 {
	size := a.MaxBuffer
	if size == 0 {
		size = min(relay.DefaultMaxBuffer, debug.SetMemoryLimit(-1)/4)
	}
	// One source gets half, and a body of unknown size one byte more than its
	// limit before it is seen to be too large.
	if least := 2 * (largest + bodyStep); size < least {
		a.log.Warn("max_buffer is raised to twice the largest max_size", zap.Int64("max_buffer", least))
		size = least
	}
	return size
}

// Stop takes this configuration out of force. When the process ends it also waits
// for attempts under way; a reload must not be held up, and they go on.
func (a *App) Stop() error {
	if a.generation == nil {
		return nil
	}
	if caddy.Exiting() {
		a.drain()
	}
	a.lingering.end()
	a.engine.detach(a.generation)
	if !caddy.Exiting() {
		a.settle()
	}
	return nil
}

// drain waits for the attempts under way, up to the grace period.
func (a *App) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), a.grace())
	defer cancel()
	var wg sync.WaitGroup
	for _, engine := range append(a.lingering.engines(), a.engine) {
		wg.Go(func() { engine.Drain(ctx) })
	}
	wg.Wait()
}

// grace is how long attempts under way may go on.
func (a *App) grace() time.Duration {
	if a.GracePeriod > 0 {
		return time.Duration(a.GracePeriod)
	}
	return defaultGracePeriod
}

// Cleanup gives the engine back.
func (a *App) Cleanup() error {
	a.watcher.stop()
	a.health.stop()
	if a.engine == nil {
		return nil
	}
	if a.generation == nil && len(a.sources) > 0 {
		a.warnSites() // caddy validate never starts an app
	}
	a.engine = nil
	return dropEngine(a.key)
}

// warnOnce reports whether a warning of that name has not been given yet.
func (a *App) warnOnce(name string) bool {
	_, given := a.warnings.LoadOrStore(name, true)
	return !given
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
