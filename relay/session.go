// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/journal"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// session is the life of one opened store: what runs on it ends with it.
type session struct {
	engine     *Engine
	began      time.Time
	store      store.Store
	flights    flights
	front      *front
	committer  *committer
	dispatcher *dispatcher
	finisher   *finisher
	janitor    *janitor
	journal    *journal.Journal
	trial      *trial
	jobs       *jobs
	space      *space
	backlogs   *backlogs
	pauses     pauses

	// keeping counts the keys of passed requests that are being committed.
	keeping atomic.Int32

	// attempts is the context of all attempts; abort cancels it with a cause.
	attempts context.Context
	abort    context.CancelCauseFunc

	failOnce sync.Once
	failed   chan struct{}
	failErr  error

	// closing is closed when the session begins to end, ended when it has.
	closeOnce sync.Once
	closing   chan struct{}
	ended     chan struct{}
	closeErr  error
}

func newSession(e *Engine, st store.Store) *session {
	s := &session{
		engine: e, began: e.clock.Now(), store: st, front: newFront(),
		flights: flights{byKey: make(map[store.DedupeKey]*flight)}, pauses: pauses{changes: make(map[string]uint64)},
		failed: make(chan struct{}), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	s.attempts, s.abort = context.WithCancelCause(context.Background())
	s.dispatcher = newDispatcher(s)
	s.finisher = newFinisher(s)
	s.committer = newCommitter(s)
	s.janitor = newJanitor(s)
	s.journal = e.openJournal(st)
	s.trial = newTrial(s, s.journal)
	s.jobs = newJobs(s)
	s.space = newSpace(s)
	s.backlogs = &backlogs{session: s}
	go s.finisher.run()
	s.committer.start()
	s.janitor.start()
	return s
}

// age returns how long the session has lasted. It does not follow steps of the
// wall clock.
func (s *session) age() time.Duration { return s.engine.clock.Now().Sub(s.began) }

// storeError handles an error of the store: one that means that it has failed
// ends the session, any other is logged.
func (s *session) storeError(doing string, err error) {
	if !errors.Is(err, store.ErrFailed) {
		s.engine.log.Error(doing, zap.Error(err))
		return
	}
	s.failOnce.Do(func() {
		s.failErr = err
		close(s.failed)
		s.engine.log.Error("store has failed: nothing is accepted until it has been opened again",
			zap.String("while", doing), zap.Error(err))
		// What is under way is not to blame if the process ends over that.
		if err := s.journal.Close(); err != nil {
			s.engine.log.Warn("closing the journal", zap.Error(err))
		}
		s.engine.failed(s)
	})
}

// failure returns the error that the store has failed with, if it has.
func (s *session) failure() error {
	select {
	case <-s.failed:
		return fmt.Errorf("%w: %w", ErrNotReady, s.failErr)
	default:
		return nil
	}
}

// over reports whether the session has failed or begun to end.
func (s *session) over() bool {
	select {
	case <-s.failed:
		return true
	case <-s.closing:
		return true
	default:
		return false
	}
}

// pause waits and reports whether the session still goes on after that.
func (s *session) pause(d time.Duration) bool {
	over, stop := timer(s.engine.clock, d)
	defer stop()
	select {
	case <-over:
		return true
	case <-s.failed:
		return false
	case <-s.closing:
		return false
	}
}

// drain stops claiming and starting attempts and waits for those under way
// until ctx ends. What is still running then is cut off.
func (s *session) drain(ctx context.Context) {
	s.jobs.close()
	s.dispatcher.post(event{kind: drainBegan})
	s.dispatcher.waiters.dismiss()
	// If the process is killed now, that is not the fault of what is under way.
	if err := s.journal.Close(); err != nil {
		s.engine.log.Warn("closing the journal", zap.Error(err))
	}
	if !s.idle(ctx) {
		s.abort(errShutdown)
		// An attempt that was cut off ends at once unless a handler in its chain
		// ignores its context; nothing may wait for such a handler for ever.
		ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortGrace)
		defer cancel()
		s.idle(ended)
	}
}

// abortGrace is how long attempts that were cut off get to end.
const abortGrace = time.Second

// idle waits until no attempt runs and reports whether that came before ctx
// ended.
func (s *session) idle(ctx context.Context) bool {
	select {
	case <-s.dispatcher.idle:
		return true
	case <-ctx.Done():
		return false
	}
}

// close ends the session and waits until it has ended, but not for ever for a
// store that hangs. It may be called by several goroutines, and again.
func (s *session) close() error {
	s.closeOnce.Do(func() { go s.end() })
	select {
	case <-s.ended:
		return s.closeErr
	case <-time.After(closeLimit):
		return fmt.Errorf("closing the store: %w", errHung)
	}
}

const (
	// closeGrace is how long what is known gets to be committed before the store
	// is closed over it.
	closeGrace = 2 * time.Second

	// closeLimit bounds the end of a session as a whole, the store's own Close
	// included.
	closeLimit = 15 * time.Second
)

// end ends the session step by step. Outcomes that are known are committed
// first. A store that hangs may let go of the calls it holds once it is closed.
func (s *session) end() {
	defer close(s.ended)
	s.drain(expired())
	close(s.closing)
	s.committer.quit()
	s.janitor.quit()
	s.jobs.close()
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		s.dispatcher.claims.Wait()
		s.committer.wait()
		s.jobs.workers.Wait()
		s.finisher.close()
		s.janitor.wait()
	}()
	select {
	case <-settled:
	case <-time.After(closeGrace):
		s.engine.log.Error("store does not answer: outcomes may be lost and their deliveries repeated")
	}
	s.dispatcher.close()
	s.abort(errShutdown)
	s.closeErr = s.store.Close()
	<-settled
}
