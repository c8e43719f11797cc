// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"
)

const (
	// noteEvery is how often the store's time is written down, while something is.
	noteEvery = 10 * time.Second

	// leastGap is the shortest time between two processes that is remembered, and
	// maxGaps how many of them are: what is older than all of them counts as passed.
	leastGap = time.Second
	maxGaps  = 256

	// clockWarning is how far the clock of the host may be behind without a word.
	clockWarning = 5 * time.Second
)

var (
	timeKey   = []byte{spaceMeta, 't'} // the newest time that was written down
	gapPrefix = []byte{spaceMeta, 'g'} // end: length
)

// gap is a time that has passed by the store's clock while no process had it open.
type gap struct {
	end    time.Time
	length time.Duration
}

// age tells how old something stored is, and when it has outlived its time.
//
// A clock that is far ahead when the store is opened, as before the first answer
// of a time server, would let it all outlive its time at once. So the time that
// has passed while nobody looked is not counted. After a month in which the machine
// was off, old things stay a month longer than they had to, dedupe keys count
// that much longer, and no delivery is given up for having waited all that time.
type age struct{ gaps []gap } // oldest first

// of returns how old what is from the time at is now.
func (a age) of(at, now time.Time) time.Duration {
	for i := len(a.gaps) - 1; i >= 0 && a.gaps[i].end.After(at); i-- {
		now = now.Add(-a.gaps[i].length)
	}
	return now.Sub(at)
}

// outlived reports whether what is from the time at has been kept for long
// enough at now.
func (a age) outlived(at time.Time, keep time.Duration, now time.Time) bool {
	return a.of(at, now) >= keep
}

// loadTime has the clock go on from the newest time that was stored, should the
// host's be behind it: else what is due would wait until that has caught up. It
// loads the gaps, and adds that since then to the batch.
func (s *Store) loadTime(b *pebble.Batch) error {
	if err := s.loadGaps(b); err != nil {
		return err
	}
	noted, err := s.newestTime()
	if err != nil {
		return err
	}
	if behind := noted.Sub(s.now()); behind > clockWarning {
		s.logger.Warn("clock of this host is behind the newest time in the store, which goes on from that: set the clock",
			zap.Duration("behind", behind))
	}
	s.clock = s.clock.from(noted)
	now := s.now()
	if length := now.Sub(noted); !noted.IsZero() && length >= leastGap {
		s.age.gaps = append(s.age.gaps, gap{now, length})
		_ = b.Set(appendMicro(slices.Clip(gapPrefix), now.UnixMicro()), appendMicro(nil, length.Microseconds()), nil)
	}
	s.noted = now
	_ = b.Set(timeKey, appendMicro(nil, now.UnixMicro()), nil)
	return nil
}

// newestTime returns the newest time that was stored, zero where nothing was. A
// store that does not say has that of the newest message or the beginning of the
// newest bucket of dedupe keys.
func (s *Store) newestTime() (time.Time, error) {
	micro, ok, err := s.number(timeKey)
	if err != nil || ok {
		return time.UnixMicro(int64(micro)).UTC(), err
	}
	var newest time.Time
	if !s.newest.IsZero() {
		newest = s.newest.Time()
	}
	if n := len(s.buckets); n > 0 {
		if begin := bucketTime(s.buckets[n-1]); begin.After(newest) {
			newest = begin
		}
	}
	if now := s.now(); newest.After(now) { // ids are by another clock
		newest = now
	}
	return newest, nil
}

// loadGaps loads the newest gaps, and has the batch delete the others.
func (s *Store) loadGaps(b *pebble.Batch) error {
	it, err := s.iterate(gapPrefix)
	if err != nil {
		return err
	}
	defer it.Close()
	for valid := it.First(); valid; valid = it.Next() {
		end, length := it.Key()[len(gapPrefix):], it.Value()
		if len(end) != 8 || len(length) != 8 {
			continue // it is not known to have passed
		}
		s.age.gaps = append(s.age.gaps, gap{
			end:    time.UnixMicro(int64(binary.BigEndian.Uint64(end))).UTC(),
			length: time.Duration(binary.BigEndian.Uint64(length)) * time.Microsecond,
		})
	}
	for ; len(s.age.gaps) >= maxGaps; s.age.gaps = s.age.gaps[1:] {
		_ = b.Delete(appendMicro(slices.Clip(gapPrefix), s.age.gaps[0].end.UnixMicro()), nil)
	}
	return it.Error()
}

// note writes the time down, if that was long ago.
func (t *txn) note() {
	if t.now.Sub(t.s.noted) < noteEvery {
		return
	}
	_ = t.batch.Set(timeKey, appendMicro(nil, t.now.UnixMicro()), nil)
	t.s.noted = t.now
}

// noteEnd writes the time down at which the store is closed, which must not be held
// up by a disk that is full.
func (s *Store) noteEnd() {
	now := s.now()
	if now.Sub(s.noted) < leastGap || s.failure.happened() || s.ballast.spent.Load() || s.fence.waiting.Load() > 0 {
		return
	}
	defer func() { _ = recover() }() // closing tells of a log that is broken
	_ = s.db.Set(timeKey, appendMicro(nil, now.UnixMicro()), pebble.NoSync)
}

func appendMicro(b []byte, micro int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(micro))
}
