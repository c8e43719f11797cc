// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"pgregory.net/rapid"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// numbered returns a key that is as good as a hash.
func numbered(n uint64) store.DedupeKey {
	var key store.DedupeKey
	for i := range 2 { // splitmix64
		z := n*2 + uint64(i) + 1
		z *= 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(key[8*i:], z^z>>31)
	}
	return key
}

// TestKeyFilterLacksNoKey does with filters what a store does, in any order and
// with little room.
func TestKeyFilterLacksNoKey(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		room := rapid.SampledFrom([]int64{0, segmentSize(smallestSegment), 3 * segmentSize(smallestSegment), filterRoom}).Draw(r, "room")
		f := newKeyFilters(room)
		stored := make(map[uint32][]uint64) // first and number of runs of keys, by bucket
		next := uint64(0)
		r.Repeat(map[string]func(*rapid.T){
			"add": func(r *rapid.T) {
				bucket := rapid.Uint32Range(0, 2).Draw(r, "bucket")
				_, known := stored[bucket]
				for range rapid.SampledFrom([]uint64{1, 10, smallestSegment}).Draw(r, "keys") {
					f.add(bucket, known, numbered(next))
					stored[bucket] = append(stored[bucket], next)
					next++
				}
			},
			"reopen": func(*rapid.T) {
				f = newKeyFilters(room)
				for bucket := range stored {
					f.buckets[bucket] = &keyFilter{partial: true}
				}
			},
			"fill": func(r *rapid.T) {
				bucket := rapid.Uint32Range(0, 2).Draw(r, "bucket")
				if b, ok := f.buckets[bucket]; !ok || !b.partial {
					r.Skip("there is nothing to fill")
				}
				before := new(keyFilter)
				for _, n := range stored[bucket] {
					f.put(before, numbered(n))
				}
				f.join(bucket, before)
			},
			"drop": func(r *rapid.T) {
				bucket := rapid.Uint32Range(0, 2).Draw(r, "bucket")
				f.drop(bucket)
				delete(stored, bucket)
			},
			"": func(r *rapid.T) { checkKeyFilter(r, f, stored, room) },
		})
	})
}

func checkKeyFilter(r *rapid.T, f *keyFilters, stored map[uint32][]uint64, room int64) {
	for bucket, keys := range stored {
		for _, n := range keys {
			if !f.mayHave(bucket, numbered(n)) {
				r.Fatalf("key %d of bucket %d is lacking", n, bucket)
			}
		}
	}
	used := int64(0)
	for _, b := range f.buckets {
		for _, s := range b.segments {
			used += segmentSize(s.capacity)
		}
	}
	if left := f.room.Load(); left < 0 || left != room-used {
		r.Fatalf("%d bytes of %d are used and %d are left", used, room, left)
	}
}

func TestKeyFilterKnowsMostNewKeys(t *testing.T) {
	f := newKeyFilters(filterRoom)
	const keys = 300_000
	for n := range uint64(keys) {
		f.add(1, false, numbered(n))
	}
	wrong := 0
	for n := range uint64(keys) {
		if f.mayHave(1, numbered(keys+n)) {
			wrong++
		}
	}
	if wrong > keys/100 {
		t.Errorf("%d of %d new keys seem to be stored", wrong, keys)
	}
	if used := filterRoom - f.room.Load(); used > 4*keys*2 {
		t.Errorf("%d bytes for %d keys", used, keys)
	}
}

// TestKeyFilterAcrossOpenings sends duplicates while the filter of what was on
// disk is being filled, and after it.
func TestKeyFilterAcrossOpenings(t *testing.T) {
	const keys = 3*fillKeys + 100
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	fs := vfs.NewMem()
	var s *Store
	var filled chan struct{}
	opening := func() {
		t.Helper()
		signal := make(chan struct{})
		filled = signal
		logger := zap.New(zapcore.RegisterHooks(zaptest.NewLogger(t).Core(), func(e zapcore.Entry) error {
			if e.Message == filtersFilled {
				close(signal)
			}
			return nil
		}))
		var err error
		if s, err = Open("store", Options{FS: fs, Logger: logger, Now: func() time.Time { return now }}); err != nil {
			t.Fatal(err)
		}
	}
	send := func(from, to, step uint64, want store.Verdict) {
		t.Helper()
		for n := from; n < to; {
			var batch []store.Acceptance
			for ; n < to && len(batch) < 256; n += step {
				batch = append(batch, store.Acceptance{
					Message: &store.Message{ID: store.MessageID(ulid.Make())}, Key: numbered(n), Window: 7 * 24 * time.Hour,
					Deliveries: []store.NewDelivery{{Destination: "d"}},
				})
			}
			answers, err := s.Accept(t.Context(), batch)
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range answers {
				if a.Verdict != want {
					t.Fatalf("key %d of the batch before %d is %v, want %v", i, n, a.Verdict, want)
				}
			}
		}
	}
	opening()
	send(0, keys/2, 1, store.Fresh)
	now = now.Add(24 * time.Hour)
	send(keys/2, keys, 1, store.Fresh)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		opening()
		send(0, keys, 97, store.DuplicateOpen)
		waitFilled(t, s, filled)
		send(0, keys, 89, store.DuplicateOpen)
	}
	send(keys, keys+1000, 1, store.Fresh)
	send(keys, keys+1000, 1, store.DuplicateOpen)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// waitFilled waits until no filter lacks what was on disk, which the log says.
func waitFilled(t *testing.T, s *Store, filled <-chan struct{}) {
	t.Helper()
	select {
	case <-filled:
	case <-time.After(20 * time.Second):
		t.Fatal("the filters are not filled")
	}
	if err := s.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.unlock()
	for bucket, b := range s.filters.buckets {
		if len(s.filters.buckets) != 2 || b.partial || b.full {
			t.Fatalf("filter %d of %d: %+v", bucket, len(s.filters.buckets), b)
		}
	}
}
