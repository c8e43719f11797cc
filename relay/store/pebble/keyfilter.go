// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// keyFilters tell of most dedupe keys that were never stored that they were not,
// without a look into Pebble: that look was a sixth of the CPU time of accepting.
// They may hold a key that is not stored, and never lack one that is.
type keyFilters struct {
	buckets map[uint32]*keyFilter
	room    atomic.Int64 // bytes that may still be taken
}

// filterRoom bounds the memory of all filters, in bytes. It is enough for twelve
// million keys; buckets that come when it is used up are always looked into.
const filterRoom = 24 << 20

// keyFilter is the filter of one bucket.
type keyFilter struct {
	segments []*segment
	partial  bool // keys that were on disk before are missing
	full     bool // there was no room for all keys
}

// segment is a Bloom filter of a fixed size, made of blocks of one cache line. A
// key is a hash already: half of it finds the block, the other the bits in it.
type segment struct {
	blocks   [][8]uint64
	keys     int
	capacity int
}

const (
	smallestSegment = 1 << 14 // keys
	largestSegment  = 1 << 20
	keysPerBlock    = 32 // 16 bits for each
	bytesPerBlock   = 64
	bitsPerKey      = 6
)

func newKeyFilters(room int64) *keyFilters {
	f := &keyFilters{buckets: make(map[uint32]*keyFilter)}
	f.room.Store(room)
	return f
}

// mayHave reports whether a bucket may hold a key.
func (f *keyFilters) mayHave(bucket uint32, key store.DedupeKey) bool {
	b, ok := f.buckets[bucket]
	return !ok || b.mayHave(key)
}

func (b *keyFilter) mayHave(key store.DedupeKey) bool {
	if b.partial || b.full {
		return true
	}
	for _, s := range b.segments {
		if s.mayHave(key) {
			return true
		}
	}
	return false
}

// add puts a key into the filter of a bucket, of which known says whether it has
// keys on disk.
func (f *keyFilters) add(bucket uint32, known bool, key store.DedupeKey) {
	b, ok := f.buckets[bucket]
	if !ok {
		b = &keyFilter{partial: known}
		f.buckets[bucket] = b
	}
	f.put(b, key)
}

func (f *keyFilters) put(b *keyFilter, key store.DedupeKey) {
	if b.full {
		return
	}
	last := len(b.segments) - 1
	if last < 0 || b.segments[last].keys == b.segments[last].capacity {
		capacity := smallestSegment
		if last >= 0 {
			capacity = min(4*b.segments[last].capacity, largestSegment)
		}
		if f.room.Add(-segmentSize(capacity)) < 0 {
			f.room.Add(segmentSize(capacity))
			f.release(b)
			b.full = true
			return
		}
		b.segments = append(b.segments, &segment{blocks: make([][8]uint64, capacity/keysPerBlock), capacity: capacity})
		last++
	}
	b.segments[last].add(key)
}

func segmentSize(capacity int) int64 { return int64(capacity/keysPerBlock) * bytesPerBlock }

// release gives back the room of a filter.
func (f *keyFilters) release(b *keyFilter) {
	for _, s := range b.segments {
		f.room.Add(segmentSize(s.capacity))
	}
	b.segments = nil
}

// drop forgets a bucket whose keys are deleted.
func (f *keyFilters) drop(bucket uint32) {
	if b, ok := f.buckets[bucket]; ok {
		f.release(b)
		delete(f.buckets, bucket)
	}
}

// join completes the filter of a bucket with one of the keys that it had on disk
// before, unless it was dropped meanwhile.
func (f *keyFilters) join(bucket uint32, before *keyFilter) {
	b, ok := f.buckets[bucket]
	if !ok {
		f.release(before)
		return
	}
	b.segments = append(before.segments, b.segments...)
	b.full = b.full || before.full
	if b.full {
		f.release(b)
	}
	b.partial = false
}

func (s *segment) block(key store.DedupeKey) (block *[8]uint64, hash uint64) {
	at, _ := bits.Mul64(binary.LittleEndian.Uint64(key[:8]), uint64(len(s.blocks)))
	return &s.blocks[at], binary.LittleEndian.Uint64(key[8:])
}

func (s *segment) add(key store.DedupeKey) {
	block, hash := s.block(key)
	for range bitsPerKey {
		block[hash>>6&7] |= 1 << (hash & 63)
		hash >>= 9
	}
	s.keys++
}

func (s *segment) mayHave(key store.DedupeKey) bool {
	block, hash := s.block(key)
	for range bitsPerKey {
		if block[hash>>6&7]&(1<<(hash&63)) == 0 {
			return false
		}
		hash >>= 9
	}
	return true
}

// fillFilters reads the keys that were on disk when the store was opened, newest
// bucket first. Until it has, each of those buckets is looked into for every key.
func (s *Store) fillFilters(ctx context.Context, buckets []uint32) {
	for _, bucket := range slices.Backward(buckets) {
		if err := s.fillFilter(ctx, bucket); err != nil {
			if ctx.Err() == nil {
				s.logger.Warn("reading dedupe keys; accepting takes longer without a filter of them", zap.Error(err))
			}
			return
		}
	}
	s.logger.Debug(filtersFilled, zap.Int("buckets", len(buckets)))
}

// filtersFilled says that no key on disk is looked for any more that is not there.
const filtersFilled = "filters of the dedupe keys are filled"

// fillFilter reads one bucket. It joins what it has read at the end: those who
// write meanwhile add their keys themselves.
func (s *Store) fillFilter(ctx context.Context, bucket uint32) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("database: %v", r)
		}
	}()
	before := new(keyFilter)
	prefix := appendBucket(nil, bucket)
	for from := prefix; from != nil && !before.full; {
		if from, err = s.fillChunk(ctx, before, from, after(prefix)); err != nil {
			s.filters.release(before)
			return err
		}
	}
	if err := s.lock(ctx); err != nil {
		s.filters.release(before)
		return err
	}
	defer s.unlock()
	s.filters.join(bucket, before)
	return nil
}

// fillKeys is how many keys are read through one iterator, which keeps files
// from being deleted.
const fillKeys = 1 << 15

// fillChunk reads some keys, and returns where the next ones begin, nil for the
// end.
func (s *Store) fillChunk(ctx context.Context, before *keyFilter, from, to []byte) (next []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to, KeyTypes: pebble.IterKeyTypePointsOnly})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	n := 0
	for it.First(); it.Valid(); it.Next() {
		if n++; n > fillKeys {
			return slices.Clone(it.Key()), nil
		}
		if key := it.Key(); len(key) == dedupeKey {
			s.filters.put(before, store.DedupeKey(key[dedupeKey-16:]))
		}
	}
	return nil, it.Error()
}
