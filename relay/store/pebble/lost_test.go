// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"encoding/binary"
	"errors"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// damage are things that can be wrong with the delivery of a key.
var damage = map[string]func(s *Store, key []byte) error{
	"row of nonsense": func(s *Store, key []byte) error { return s.db.Set(key, []byte{0xff}, pebble.Sync) },
	"cut row":         func(s *Store, key []byte) error { return s.db.Set(key, []byte{0x0a, 5, 1}, pebble.Sync) },
	"no row":          func(s *Store, key []byte) error { return s.db.Delete(key, pebble.Sync) },
}

func TestLostDeliveryDoesNotStopItsDestination(t *testing.T) {
	for name, harm := range damage {
		for _, victim := range []int{0, 2, 4} {
			t.Run(name, func(t *testing.T) { checkLost(t, name, harm, victim) })
		}
	}
}

func checkLost(t *testing.T, name string, harm func(*Store, []byte) error, victim int) {
	core, logs := observer.New(zap.ErrorLevel)
	opts := Options{FS: vfs.NewMem(), Logger: zap.New(core)}
	s, err := Open("store", opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	const deliveries = 5
	var ids []store.DeliveryID
	for range deliveries {
		m := &store.Message{ID: store.MessageID(ulid.Make())}
		answers, err := s.Accept(t.Context(), []store.Acceptance{{Message: m, Deliveries: []store.NewDelivery{{Destination: "d"}}}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, answers[0].Deliveries[0].ID)
	}
	if err := harm(s, appendDeliveryKey(nil, ids[victim])); err != nil {
		t.Fatal(err)
	}
	got := deliverOneByOne(t, s, deliveries)
	if len(got) != deliveries-1 || slices.Contains(got, ids[victim]) {
		t.Errorf("claimed %v, want all but %s", got, ids[victim])
	}
	// A later delivery that is due earlier takes the walk back over it.
	if _, err := s.Hasten(t.Context(), "d", 10); err != nil {
		t.Errorf("Hasten: %v", err)
	}
	s.uncover(appendDuePrefix(nil, "d"), "d")
	if c, err := s.Claim(t.Context(), store.ClaimRequest{Destination: "d", Limit: 9, Lease: time.Minute}); err != nil || len(c.Deliveries) != 0 {
		t.Errorf("Claim: %+v, %v", c, err)
	}
	if n := logs.FilterMessageSnippet("can not be read").Len(); n != 1 {
		t.Errorf("%d alarms, want 1", n)
	}
	books, err := s.Books(t.Context())
	if want := (store.Books{Made: deliveries, Delivered: deliveries - 1, Open: 1}); err != nil || books["d"] != want {
		t.Errorf("books: %+v, %v, want %+v", books["d"], err, want)
	}
	if _, err := s.Purge(t.Context(), store.PurgeRequest{Finished: time.Nanosecond}); err != nil {
		t.Errorf("Purge: %v", err)
	}
	checkLostReplay(t, s, ids[victim], name)
}

// deliverOneByOne claims so many times, and returns what was delivered.
func deliverOneByOne(t *testing.T, s *Store, times int) (got []store.DeliveryID) {
	t.Helper()
	for range times {
		c, err := s.Claim(t.Context(), store.ClaimRequest{Destination: "d", Limit: 1, Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range c.Deliveries {
			got = append(got, d.ID)
			if _, err := s.Finish(t.Context(), []store.Finish{{Lease: d.Lease(), State: store.Delivered}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return got
}

// checkLostReplay does what the alarm advises, where there still is a row.
func checkLostReplay(t *testing.T, s *Store, id store.DeliveryID, name string) {
	t.Helper()
	d, err := s.Replay(t.Context(), id.Message, "d")
	if name == "no row" {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Replay: %v", err)
		}
		return
	}
	if err != nil || d.ID.N != 2 {
		t.Errorf("Replay: %+v, %v", d, err)
	}
	if err := s.Delete(t.Context(), id.Message); err != nil {
		t.Errorf("Delete: %v", err)
	}
	books, err := s.Books(t.Context())
	if b := books["d"]; err != nil || !b.Balanced() || b.Open != 1 || b.Deleted != 1 {
		t.Errorf("books after Delete: %+v, %v", b, err)
	}
}

// A block of a table that can not be read costs the deliveries in it, and no more.
func TestT19_ClaimPassesByABlockThatItCanNotRead(t *testing.T) {
	const messages = 3000
	passed := 0
	for place, fs := range damagedBlocks(t, messages, 0) {
		s, err := Open("store", Options{FS: fs})
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("place %d: Open: %v", place, err)
			}
			continue
		}
		c, err := s.Claim(t.Context(), store.ClaimRequest{Destination: "d", Limit: messages, Lease: time.Minute})
		if n := len(c.Deliveries); err == nil && n < messages {
			passed++
			if n < messages-300 {
				t.Errorf("place %d: claimed %d of %d", place, n, messages)
			}
		}
		_ = s.Close()
	}
	if passed == 0 {
		t.Error("no place was in a block of deliveries")
	}
}

// damagedBlocks returns copies of a store with so many messages, each with a byte
// changed at another place of its table.
func damagedBlocks(t *testing.T, messages int, lease time.Duration) (copies []*vfs.MemFS) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s, err := Open("store", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	var batch []store.Acceptance
	for n := range messages {
		var id store.MessageID
		binary.BigEndian.PutUint64(id[8:], uint64(n+1))
		batch = append(batch, store.Acceptance{Message: &store.Message{ID: id}, Deliveries: []store.NewDelivery{{Destination: "d", Lease: lease}}})
	}
	_, err = s.Accept(t.Context(), batch)
	if err := firstError(err, s.db.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	for place := range int64(20) {
		damaged := fs.CrashClone(vfs.CrashCloneCfg{})
		flip(t, damaged, place, 20)
		copies = append(copies, damaged)
	}
	return copies
}

// flip changes a byte at so many parts of the whole of each table.
func flip(t *testing.T, fs vfs.FS, part, whole int64) {
	t.Helper()
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if path.Ext(name) != ".sst" {
			continue
		}
		f, err := fs.OpenReadWrite(path.Join("store", name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		at, b := info.Size()*part/whole, make([]byte, 1)
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x55
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
