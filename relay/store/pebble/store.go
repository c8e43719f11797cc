// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Store is a store in a directory of its own. It is safe for use by any number
// of goroutines.
type Store struct {
	dir     string
	opts    Options
	clock   clock
	logger  *zap.Logger
	failure *failure
	fence   *fence
	db      *pebble.DB

	// ops keeps Pebble open while it is in use.
	ops struct {
		sync.Mutex
		running int
		closed  bool
		idle    chan struct{} // closed when the store is and the last operation has ended
	}

	// writer is held, by one value in it, while a transaction is built and
	// applied. It guards all that follows, which is what the disk will hold as
	// soon as every commit so far is durable.
	writer   chan struct{}
	last     *commit                 // the newest one
	books    map[string]*store.Books // what is in it is replaced, and never changed
	queues   map[string]*queue
	kept     map[store.DeliveryID]*kept
	lost     map[store.DeliveryID]bool // can not be read
	buckets  []uint32                  // dedupe buckets that have keys, oldest first
	filters  *keyFilters               // of the buckets
	newest   store.MessageID           // no message has a larger id
	place    uint64                    // no delivery has a larger one
	cohorts  []*cohort                 // of what was handed over, oldest first
	mark     store.MessageID           // as the disk has it
	accepted uint64                    // how many messages this process has accepted
	epoch    uint64                    // no lease of an earlier process has a larger one
	age      age
	noted    time.Time // the newest time that was written down
	spare    *txn      // the memory of a former transaction
	removed  removed
	rot      *rot

	// told are the deliveries that lists and operators could not read.
	told map[store.DeliveryID]bool

	// reading is held by who changes books, beside the writer's place, and by who
	// reads them without it.
	reading sync.RWMutex

	space   space
	ballast *ballast
	doubt   string

	background sync.WaitGroup
	life       context.Context // of what runs in the background
	stop       context.CancelFunc
	reclaim    chan reclaim
	closing    sync.Once
	closeErr   error
}

var _ store.Store = (*Store)(nil)

// begin starts an operation, which the returned function ends.
func (s *Store) begin(doing string) (end func(), err error) {
	s.ops.Lock()
	defer s.ops.Unlock()
	if s.ops.closed {
		return nil, fmt.Errorf("%s: %w", doing, store.ErrClosed)
	}
	if err := s.failure.err(); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	s.ops.running++
	return s.end, nil
}

func (s *Store) end() {
	s.ops.Lock()
	defer s.ops.Unlock()
	s.ops.running--
	if s.ops.closed && s.ops.running == 0 {
		close(s.ops.idle)
	}
}

// lock takes the writer's place. It fails when the store does, so that nobody
// waits for one who will never be done.
func (s *Store) lock(ctx context.Context) error {
	select {
	case s.writer <- struct{}{}:
	case <-s.failure.ch:
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.failure.err()
}

func (s *Store) unlock() { <-s.writer }

// now returns the time that is written into what is stored.
func (s *Store) now() time.Time { return s.clock.now() }

// Now returns the time by the store's clock.
func (s *Store) Now() time.Time { return s.now() }

// Age returns how much time has passed since t while a process had the store open.
func (s *Store) Age(t time.Time) time.Duration { return max(0, s.age.of(t, s.now())) }

// answer returns the error of an operation that has read from the store. What a
// store has read that fails meanwhile may never have become durable.
func (s *Store) answer(doing string, err error) error {
	if failed := s.failure.err(); failed != nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// reading runs an operation that changes nothing. What it has found counts only if
// the store has not failed by then.
func reading[T any](s *Store, doing string, look func() (T, error)) (T, error) {
	var none T
	end, err := s.begin(doing)
	if err != nil {
		return none, err
	}
	defer end()
	found, err := look()
	if err := s.answer(doing, err); err != nil {
		return none, err
	}
	return found, nil
}

// wrap is answer for what has written: its commit has told the truth already.
func (s *Store) wrap(doing string, err error) error {
	if err != nil {
		return s.answer(doing, err)
	}
	return nil
}

// Caps tells what the store can do.
func (s *Store) Caps() store.Caps {
	caps := store.Caps{ExactExpiry: true}
	if s.opts.FS == vfs.Default {
		caps.Journal = filepath.Join(s.dir, journalFile)
	}
	return caps
}

// journalFile is the name in the directory that the store leaves to its user.
const journalFile = "journal"

// closeWait is how long Close waits for operations that run and for Pebble,
// which ends the compactions it has begun; failedWait is the same for a store
// that has failed.
const (
	closeWait  = 30 * time.Second
	failedWait = time.Second
)

// ended returns ErrClosed while the store is being closed, for operations that
// take long.
func (s *Store) ended() error {
	s.ops.Lock()
	defer s.ops.Unlock()
	if s.ops.closed {
		return store.ErrClosed
	}
	return nil
}

// Close ends the store. It waits for operations that have begun; those that
// begin later get ErrClosed. Closing it again does nothing.
//
// What hangs in a disk that has failed is left behind: Close then returns in
// bounded time, with the goroutines and the memory of the database lost to the
// process, and the directory can be opened again.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	s.ops.Lock()
	s.ops.closed = true
	if s.ops.running == 0 {
		close(s.ops.idle)
	}
	s.ops.Unlock()
	s.stop()
	s.fence.closing.Store(true)
	ended := make(chan error, 1)
	go func() {
		<-s.ops.idle
		s.background.Wait()
		s.noteEnd()
		ended <- s.closeDB()
	}()
	wait := time.NewTimer(closeWait)
	defer wait.Stop()
	broken := s.failure.ch
	for {
		select {
		case err := <-ended:
			err = firstError(err, s.fence.unlock())
			if err != nil && s.failure.err() == nil {
				return fmt.Errorf("closing store: %w", err)
			}
			return nil
		case <-broken:
			broken = nil
			wait.Reset(failedWait)
		case <-wait.C:
			return s.abandon()
		}
	}
}

// abandon leaves behind what does not end.
func (s *Store) abandon() error {
	reported := s.failure.happened()
	s.failure.fail(fmt.Errorf("closing store: the disk does not answer"))
	if !s.fence.sever(failedWait) {
		return fmt.Errorf("closing store: a call of the file system hangs, and keeps %s locked: %w", s.dir, store.ErrFailed)
	}
	if !reported {
		return fmt.Errorf("closing store: %w", s.failure.err())
	}
	return nil
}

// closeDB closes Pebble, which panics if its log can not be closed, and waits for
// what its last events have begun.
func (s *Store) closeDB() (err error) {
	defer s.rot.writers.Wait()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("database: %v", r)
		}
	}()
	return s.db.Close()
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
