// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// origin returns what a dedupe key stands for: the newest there is. Whether it
// still counts is for the caller to say.
func (t *txn) origin(key store.DedupeKey) (origin, bool, error) {
	if key.IsZero() {
		return origin{}, false, nil
	}
	if o, ok := t.keys[key]; ok {
		return o, true, nil
	}
	for _, bucket := range slices.Backward(t.s.buckets) {
		if !t.s.filters.mayHave(bucket, key) {
			continue
		}
		o, ok, err := t.lookUp(bucket, key)
		if ok || err != nil {
			return o, ok, err
		}
	}
	return origin{}, false, nil
}

// lookUp looks for a dedupe key in one bucket.
func (t *txn) lookUp(bucket uint32, key store.DedupeKey) (origin, bool, error) {
	if t.dedupe == nil {
		it, err := t.s.db.NewIter(&pebble.IterOptions{
			LowerBound:   []byte{spaceDedupe},
			UpperBound:   []byte{spaceDedupe + 1},
			KeyTypes:     pebble.IterKeyTypePointsOnly,
			UseL6Filters: true,
		})
		if err != nil {
			return origin{}, false, err
		}
		t.dedupe = it
	}
	t.scratch = appendDedupeKey(t.scratch[:0], bucket, key)
	if !t.dedupe.SeekPrefixGE(t.scratch) {
		return origin{}, false, t.dedupe.Error()
	}
	o, err := decodeOrigin(t.dedupe.Value())
	return o, err == nil, err
}

// remember writes a dedupe key. An older one of the same name in another bucket
// stays, and is never found again.
func (t *txn) remember(key store.DedupeKey, o origin) {
	if key.IsZero() {
		return
	}
	if t.keys == nil {
		t.keys = make(map[store.DedupeKey]origin)
		t.buckets = make(map[uint32]bool)
	}
	bucket := bucketOf(o.acceptedAt)
	t.keys[key] = o
	t.buckets[bucket] = true
	_, known := slices.BinarySearch(t.s.buckets, bucket)
	// A key too many does no harm if this is not applied.
	t.s.filters.add(bucket, known, key)
	op := t.in(spaceDedupe).SetDeferred(dedupeKey, originLen)
	appendDedupeKey(op.Key[:0], bucket, key)
	o.append(op.Value[:0])
	_ = op.Finish()
}

// addBucket notes that a bucket has keys.
func (s *Store) addBucket(bucket uint32) {
	if i, ok := slices.BinarySearch(s.buckets, bucket); !ok {
		s.buckets = slices.Insert(s.buckets, i, bucket)
	}
}

// loadBuckets finds the buckets that have keys.
func (s *Store) loadBuckets() error {
	it, err := s.iterate([]byte{spaceDedupe})
	if err != nil {
		return err
	}
	defer it.Close()
	for valid := it.First(); valid; {
		bucket := binary.BigEndian.Uint32(it.Key()[1:])
		s.buckets = append(s.buckets, bucket)
		s.filters.buckets[bucket] = &keyFilter{partial: true}
		valid = it.SeekGE(after(appendBucket(nil, bucket)))
	}
	return it.Error()
}
