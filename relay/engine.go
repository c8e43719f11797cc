// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// DefaultMaxBuffer is the memory for bodies of an engine whose generation sets
// none.
const DefaultMaxBuffer = 64 << 20

// Options are what an Engine is made of.
type Options struct {
	// Open opens the store. It is called by Start, and again after the store has
	// failed. It obeys ctx, which only concerns the opening and ends with the engine.
	Open func(ctx context.Context) (store.Store, error)

	// Logger gets what operators should know. Default: none.
	Logger *zap.Logger

	// Observer is told what happens. Default: none.
	Observer Observer

	// Clock tells the time. Default: the clock of the operating system.
	Clock Clock
}

// Engine accepts messages, delivers them and keeps their books. All its methods
// may be called by any number of goroutines at once.
type Engine struct {
	open     func(ctx context.Context) (store.Store, error)
	log      *zap.Logger
	observer Observer
	clock    Clock
	ids      *messageIDs
	// instance tells this engine from all others in a journal.
	instance [16]byte
	budget   *Budget

	// opening is held while the store is being opened or closed.
	opening sync.Mutex

	// current is the session, nil before the first one. opened is closed when the
	// first one begins; life ends with the engine.
	current atomic.Pointer[session]
	opened  chan struct{}
	life    context.Context
	end     context.CancelFunc

	// recoveries counts the goroutines that open a failed store again.
	recoveries sync.WaitGroup

	// mu guards what follows.
	mu          sync.Mutex
	generations []*Generation
	draining    bool
	closing     bool
}

// New returns an engine that has done nothing yet.
func New(opts Options) *Engine {
	e := &Engine{
		open: opts.Open, log: opts.Logger, observer: opts.Observer, clock: opts.Clock,
		ids: newMessageIDs(), budget: NewBudget(DefaultMaxBuffer),
		opened: make(chan struct{}),
	}
	_, _ = rand.Read(e.instance[:]) // it never fails
	e.life, e.end = context.WithCancel(context.Background())
	if e.log == nil {
		e.log = zap.NewNop()
	}
	if e.observer == nil {
		e.observer = nopObserver{}
	}
	if e.clock == nil {
		e.clock = SystemClock()
	}
	return e
}

// Start opens the store unless it is open. It may be called again after it has
// failed.
func (e *Engine) Start(ctx context.Context) error {
	e.opening.Lock()
	defer e.opening.Unlock()
	if e.life.Err() != nil {
		return ErrClosed
	}
	if s := e.current.Load(); s != nil {
		if s.failure() == nil {
			return nil
		}
		if err := s.close(); err != nil {
			e.log.Warn("closing the failed store", zap.Error(err))
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	st, err := e.open(ctx)
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	e.greet(ctx, st)
	pauses, err := readPauses(ctx, st)
	if err != nil {
		// To deliver what an operator has forbidden would be worse than to wait.
		return errors.Join(err, st.Close())
	}
	s := newSession(e, st)
	s.pauseAll(pauses)
	e.mu.Lock()
	e.apply(s) // first, lest something be accepted beyond the limits
	first := e.current.Swap(s) == nil
	if e.draining {
		s.dispatcher.post(event{kind: drainBegan})
	}
	e.mu.Unlock()
	s.jobs.resume(ctx)
	if first {
		close(e.opened)
	}
	return nil
}

// greet tells the operator which store is open and what is in it.
func (e *Engine) greet(ctx context.Context, st store.Store) {
	books, err := st.Books(ctx)
	if err != nil {
		e.log.Error("reading the books", zap.Error(err))
		return
	}
	var open, dead uint64
	for _, b := range books {
		open, dead = open+b.Open, dead+b.Dead
	}
	h := st.Health()
	e.log.Info("store is open", zap.String("location", h.Location), zap.Uint64("open_deliveries", open), zap.Uint64("dead_deliveries", dead))
	switch {
	case h.Doubt != "":
		e.log.Warn("what is accepted may be lost: "+h.Doubt+"; give the store a local volume, or say that it is ephemeral",
			zap.String("location", h.Location))
	case !h.Durable:
		e.log.Warn("messages are gone when this process ends: the store is not durable", zap.String("location", h.Location))
	}
}

// Attach puts a generation in force, as a whole and at once. Attempts under way
// end as they began.
func (e *Engine) Attach(g *Generation) {
	e.mu.Lock()
	e.generations = append(e.generations, g)
	e.applyAll()
	e.mu.Unlock()
	if s, err := e.ready(expired()); err == nil {
		s.space.look()
	}
}

// Detach takes a generation back. If it was in force, the one that was attached
// before it is in force again; with none left nothing is delivered.
func (e *Engine) Detach(g *Generation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.generations = slices.DeleteFunc(e.generations, func(other *Generation) bool { return other == g })
	e.applyAll()
}

// applyAll makes the budget and the session follow the generation in force.
func (e *Engine) applyAll() {
	e.budget.SetLimit(e.maxBuffer())
	e.budget.SetReserve(e.shedsLast())
	if s := e.current.Load(); s != nil {
		e.apply(s)
	}
}

// maxBuffer returns the memory for bodies of the generation in force.
func (e *Engine) maxBuffer() int64 {
	if n := len(e.generations); n > 0 && e.generations[n-1].MaxBuffer > 0 {
		return e.generations[n-1].MaxBuffer
	}
	return DefaultMaxBuffer
}

// shedsLast reports whether the generation in force has a source that is to be
// shed last.
func (e *Engine) shedsLast() bool {
	n := len(e.generations)
	return n > 0 && e.generations[n-1].ShedLast
}

// apply tells a session which targets are in force.
func (e *Engine) apply(s *session) {
	var targets []*target
	var disk DiskLimits
	var limits []BacklogLimit
	if n := len(e.generations); n > 0 {
		disk, limits = e.generations[n-1].Disk, e.generations[n-1].Backlogs
		for _, d := range e.generations[n-1].Destinations {
			targets = append(targets, newTarget(d, e.log))
		}
	}
	s.space.limit(disk)
	s.backlogs.limit(limits)
	s.dispatcher.post(event{kind: configured, targets: targets, memory: e.maxBuffer()})
	if len(targets) > 0 {
		s.trial.begin()
	}
}

// inForce returns the generation in force, nil for none.
func (e *Engine) inForce() *Generation {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.generations); n > 0 {
		return e.generations[n-1]
	}
	return nil
}

// Budget returns the memory for bodies.
func (e *Engine) Budget() *Budget { return e.budget }

// ready returns the session, waiting for the first one until ctx ends.
func (e *Engine) ready(ctx context.Context) (*session, error) {
	if e.life.Err() != nil {
		return nil, ErrClosed
	}
	s := e.current.Load()
	if s == nil {
		select {
		case <-e.life.Done():
			return nil, ErrClosed
		case <-e.opened:
			s = e.current.Load()
		case <-ctx.Done():
			return nil, ErrNotReady
		}
	}
	return s, s.failure()
}

// Drain stops claiming and starting attempts for good and waits for those under
// way until ctx ends; what still runs then is cut off and will be tried again
// after the next start. Accept goes on.
func (e *Engine) Drain(ctx context.Context) {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	if s := e.current.Load(); s != nil {
		s.drain(ctx)
	}
}

// Close ends the engine: attempts that still run are cut off, what is known is
// committed, and the store is closed. It does not wait for ever for a store that
// hangs. Closing it again does nothing.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	e.end()
	e.recoveries.Wait()
	e.opening.Lock()
	defer e.opening.Unlock()
	s := e.current.Load()
	if s == nil {
		return nil
	}
	failed := s.failure() != nil
	err := s.close()
	if failed {
		return nil
	}
	return err
}

// failed has the store of a session opened again, unless the engine ends.
func (e *Engine) failed(s *session) {
	if g := e.inForce(); g != nil && g.Failed != nil {
		g.Failed(s.failErr)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closing {
		e.recoveries.Go(func() { e.recover(s) })
	}
}

// recover ends a session whose store has failed and opens the store again, as
// often as it takes.
func (e *Engine) recover(s *session) {
	if err := s.close(); err != nil {
		e.log.Warn("closing the failed store", zap.Error(err))
	}
	for gap := reopenFirst; ; gap = min(2*gap, reopenLongest) {
		if !wait(e.life, e.clock, gap) {
			return
		}
		err := e.Start(e.life)
		if err == nil {
			e.log.Info("store is open again")
			return
		}
		if e.life.Err() == nil {
			e.log.Error("store could not be opened again", zap.Error(err))
		}
	}
}

// How long the engine waits before it opens a failed store again.
const (
	reopenFirst   = time.Second
	reopenLongest = 30 * time.Second
)

// expired returns a context that has ended.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
