// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Options configure a Store. The zero value is a good choice.
type Options struct {
	// Logger is where the store logs to. The default logs nothing.
	Logger *zap.Logger

	// Now is the store's clock. The default is the wall clock's time of Open, and
	// monotonic from there.
	Now func() time.Time

	// FS is the file system. The default is the operating system's.
	FS vfs.FS

	// LockWait is how long Open waits for another process to give the store back.
	// The default is 10 s, negative does not wait.
	LockWait time.Duration

	// MemTableSize bounds a memtable in bytes, of which up to three exist under
	// load. The default is 12 MiB. On a volume under 1 GiB it is made smaller, since
	// the log takes as much space.
	MemTableSize uint64

	// CacheSize bounds the cache of blocks in bytes. The default is 8 MiB.
	CacheSize int64

	// Ephemeral says that it is known that the directory does not outlive the
	// machine or the container, so that nobody needs to be warned of its file system.
	Ephemeral bool

	cohortMessages, cohortReach uint64 // as the constants of these names
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.LockWait == 0 {
		o.LockWait = 10 * time.Second
	}
	if o.MemTableSize == 0 {
		o.MemTableSize = 12 << 20
	}
	if o.CacheSize == 0 {
		o.CacheSize = 8 << 20
	}
	if o.cohortMessages == 0 {
		o.cohortMessages, o.cohortReach = cohortMessages, cohortReach
	}
	return o
}

// Open opens the store in a directory, which is made if it does not exist. It
// returns an error that wraps ErrLocked where another process has it open, and
// ErrFormat where another version has written it. The caller says that it was
// opening a store.
func Open(dir string, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	if opts.FS == vfs.Default {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		dir = abs
	}
	s := &Store{
		dir:     dir,
		opts:    opts,
		clock:   newClock(opts.Now),
		logger:  opts.Logger,
		failure: newFailure(opts.Logger),
		writer:  make(chan struct{}, 1),
		books:   make(map[string]*store.Books),
		queues:  make(map[string]*queue),
		kept:    make(map[store.DeliveryID]*kept),
		lost:    make(map[store.DeliveryID]bool),
		told:    make(map[store.DeliveryID]bool),
		filters: newKeyFilters(filterRoom),
		reclaim: make(chan reclaim, 1),
	}
	s.ops.idle = make(chan struct{})
	s.ballast = newBallast(dir, opts.FS, opts.Logger)
	s.fence = newFence(opts.FS, s.failure.fail, s.ballast.drop)
	s.ballast.fence = s.fence
	s.rot = newRot(dir, opts.FS, s.fence, opts.Logger)
	if err := makeDir(dir, s.fence, s.logger); err != nil {
		return nil, err
	}
	s.measureVolume()
	lock, err := lockDir(dir, s.fence, opts.LockWait, s.now(), s.logger)
	if err != nil {
		return nil, err
	}
	s.rot.load()
	if err := s.openDB(lock); err != nil {
		s.fence.sever(failedWait)
		return nil, err
	}
	if err := s.load(); err != nil {
		s.discard()
		return nil, explainRead(err)
	}
	s.fence.open.Store(true)
	s.startBackground()
	return s, nil
}

// discard closes what could not be opened as a whole, or leaves it behind where
// the disk has failed.
func (s *Store) discard() {
	s.fence.closing.Store(true)
	closed := make(chan struct{})
	go func() {
		_ = s.closeDB()
		close(closed)
	}()
	select {
	case <-closed:
		_ = s.fence.unlock()
	case <-s.failure.ch:
		s.fence.sever(failedWait)
	}
}

// measureVolume finds out what the directory is on.
func (s *Store) measureVolume() {
	if u, err := s.opts.FS.GetDiskUsage(s.dir); err == nil {
		s.space.set(u)
		s.ballast.size = ballastSize(u.TotalBytes)
		s.opts.MemTableSize = min(s.opts.MemTableSize, memTableFor(u.TotalBytes))
	}
	if s.opts.FS == vfs.Default && !s.opts.Ephemeral {
		s.doubt = doubtful(fileSystemOf(s.dir))
	}
}

func (s *Store) startBackground() {
	ctx, stop := context.WithCancel(context.Background())
	s.life, s.stop = ctx, stop
	s.measure()
	s.background.Go(func() { s.watchSpace(ctx) })
	s.background.Go(func() { s.reclaimSpace(ctx) })
	buckets := slices.Clone(s.buckets)
	s.background.Go(func() { s.fillFilters(ctx, buckets) })
}

// openDB opens Pebble. An error that it holds to be fatal leaves its goroutine
// behind.
func (s *Store) openDB(lock *pebble.Lock) error {
	type opened struct {
		db  *pebble.DB
		err error
	}
	done := make(chan opened, 1)
	go func() {
		db, err := pebble.Open(s.dir, s.dbOptions(lock))
		done <- opened{db, err}
	}()
	select {
	case o := <-done:
		s.db = o.db
		s.fence.armed.Store(o.err == nil)
		return s.explainOpen(o.err)
	case <-s.failure.ch:
		return s.explainOpen(s.failure.err())
	}
}

func (s *Store) explainOpen(err error) error {
	switch {
	case err == nil:
		return nil
	case rotted(err):
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	default:
		return explain(s.dir, err)
	}
}

// pebbleFormat is the format of Pebble's own files. A newer one can not be read
// by an older Pebble.
const pebbleFormat = pebble.FormatValueSeparation

// separated is the size in bytes from which on values are kept apart.
const separated = 256

// separation keeps messages in files of their own, to which the tables refer, so
// that a compaction does not copy them. It saves a quarter of the CPU time and
// most of what compactions write; CockroachDB runs with it by default.
//
// The depth is how many of those files a table may refer to before its messages
// are copied together. Ids grow with time, so those of a table are in few files
// anyway; Pebble can not know, and assumes the worst of every table that is
// flushed.
func (s *Store) separation() pebble.ValueSeparationPolicy {
	garbage := 0.3
	if s.rot.rests() {
		garbage = 1 // nothing is rewritten
	}
	return pebble.ValueSeparationPolicy{
		Enabled:               true,
		MinimumSize:           separated,
		MaxBlobReferenceDepth: 1 << 10,
		RewriteMinimumAge:     0, // what a purge leaves is old
		TargetGarbageRatio:    garbage,
	}
}

// Messages are compressed in blocks of their files, which are as large as those of
// tables of the level that they are flushed to. What services send is much alike:
// larger blocks take less time and space. They are read in about the order in which
// they lie there, and a byte that rots takes its whole block with it.
const (
	messageBlock = 8 << 10
	tableBlock   = 4 << 10
)

// dbOptions returns how Pebble is set up: small, as it shares a machine with
// what it serves.
func (s *Store) dbOptions(lock *pebble.Lock) *pebble.Options {
	log := &logger{zap: s.logger, failure: s.failure, rot: s.rot}
	o := &pebble.Options{
		FS:                          s.fence,
		Lock:                        lock,
		Logger:                      log,
		EventListener:               log.listener(),
		FormatMajorVersion:          pebbleFormat,
		CacheSize:                   s.opts.CacheSize + 2*int64(s.opts.MemTableSize), // Pebble takes memtables out of it
		MemTableSize:                s.opts.MemTableSize,
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       30, // fewer compactions; a look into that many tables is cheap beside one
		L0StopWritesThreshold:       60,
		LBaseMaxBytes:               64 << 20,
		FlushSplitBytes:             2 << 20,
		FlushDelayDeleteRange:       10 * time.Second,
		MaxOpenFiles:                256,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	o.Experimental.ValueSeparationPolicy = s.separation
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = newDedupeFilter()
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
		o.Levels[i].BlockSize = tableBlock
	}
	o.Levels[0].BlockSize = messageBlock
	return o
}

// format is the version of the layout of keys and records. It is the first one
// that was released, and no other is read.
const format = 4

var (
	formatKey = []byte{spaceMeta, 'f'}
	opensKey  = []byte{spaceMeta, 'o'}
)

// load reads what is kept in memory, after it has seen that it can.
func (s *Store) load() error {
	found, ok, err := s.number(formatKey)
	if err != nil {
		return err
	}
	if ok && found != format {
		return fmt.Errorf("%w: %s has format %d, this version knows %d; run the version that wrote it, or choose another path for the store",
			store.ErrFormat, s.dir, found, format)
	}
	opens, _, err := s.number(opensKey)
	if err != nil {
		return err
	}
	// No epoch is ever given twice, though most are never written: every process
	// begins above all that an earlier one can have given.
	s.epoch = opens << 32
	// The same goes for places: the last one given may have left the disk.
	s.place = opens << 40
	if err := firstError(s.loadBooks(), s.loadBuckets(), s.loadNewest()); err != nil {
		return err
	}
	if err := s.recoverHandedOver(); err != nil {
		return err
	}
	b := s.db.NewBatch()
	if err := s.loadTime(b); err != nil {
		return firstError(err, b.Close())
	}
	_ = b.Set(formatKey, binary.BigEndian.AppendUint64(nil, format), nil)
	_ = b.Set(opensKey, binary.BigEndian.AppendUint64(nil, opens+1), nil)
	return s.commit(b).wait()
}

// number reads a number of the store's own.
func (s *Store) number(key []byte) (v uint64, ok bool, err error) {
	b, done, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer done.Close()
	if len(b) != 8 {
		return 0, false, fmt.Errorf("%w: number of %d bytes", store.ErrCorrupt, len(b))
	}
	return binary.BigEndian.Uint64(b), true, nil
}

// loadNewest finds the largest message id.
func (s *Store) loadNewest() error {
	it, err := s.iterate([]byte{spaceMessage})
	if err != nil {
		return err
	}
	defer it.Close()
	if it.Last() {
		copy(s.newest[:], it.Key()[1:])
	}
	return it.Error()
}

// iterate returns an iterator over the keys with a prefix.
func (s *Store) iterate(prefix []byte) (*pebble.Iterator, error) {
	return s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix), KeyTypes: pebble.IterKeyTypePointsOnly})
}
