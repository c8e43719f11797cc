// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// unreadable makes a store with three messages that can not be read, the first with a
// dead delivery, the second with a delivered one and the third without any, and a
// readable one after them, and lets time pass for it.
func unreadable(t *testing.T) (s *Store, ids []store.MessageID, passed *atomic.Int64) {
	t.Helper()
	fs := vfs.NewMem()
	passed = new(atomic.Int64)
	now := time.Now()
	s, err := Open("store", Options{FS: fs, Now: func() time.Time { return now.Add(time.Duration(passed.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	accept := func(body []byte, ends ...store.State) {
		m := &store.Message{ID: store.MessageID(ulid.Make()), Source: "shop", Type: "paid", EventID: "evt_1", Request: store.Request{Body: body}}
		ids = append(ids, m.ID)
		a := store.Acceptance{Message: m}
		for range ends {
			a.Deliveries = append(a.Deliveries, store.NewDelivery{Destination: "d", Lease: time.Minute})
		}
		accepted, err := s.Accept(t.Context(), []store.Acceptance{a})
		if err != nil {
			t.Fatal(err)
		}
		for i, state := range ends {
			end := store.Finish{Lease: accepted[0].Deliveries[i].Lease(), State: state, Attempt: &store.Attempt{Outcome: store.Refused}}
			if _, err := s.Finish(t.Context(), []store.Finish{end}); err != nil {
				t.Fatal(err)
			}
		}
	}
	body := costBodies[:8000] // which are not compressed to next to nothing
	accept(body, store.Dead)
	accept(body, store.Delivered)
	accept(body)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	harmBlobs(t, fs)
	for _, id := range ids {
		if _, err := s.Message(t.Context(), id); !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("reading a message: %v", err)
		}
	}
	accept([]byte("small"))
	return s, ids, passed
}

func TestAMessageThatCanNotBeReadIsDeleted(t *testing.T) {
	s, ids, _ := unreadable(t)
	// One without deliveries, whose size nothing else tells.
	if _, err := s.Replay(t.Context(), ids[2], "d"); err != nil {
		t.Errorf("replaying one that can not be read: %v", err)
	}
	answers, err := s.Operate(t.Context(), []store.Operation{{Action: store.ActionDelete, Delivery: store.DeliveryID{Message: ids[0]}}})
	if err != nil || answers[0].Err != nil {
		t.Fatalf("deleting it: %+v, %v", answers, err)
	}
	if _, err := s.Message(t.Context(), ids[0]); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("reading it after that: %v", err)
	}
}

func TestAMessageThatCanNotBeReadIsPurged(t *testing.T) {
	s, ids, passed := unreadable(t)
	passed.Store(int64(time.Hour))
	purged, err := s.Purge(t.Context(), store.PurgeRequest{Finished: time.Minute})
	if err != nil || purged.Messages < 2 {
		t.Errorf("purged %+v, error %v", purged, err)
	}
	if _, err := s.Message(t.Context(), ids[1]); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("reading it after that: %v", err)
	}
}

func TestAMessageThatCanNotBeReadHidesNoOther(t *testing.T) {
	s, ids, _ := unreadable(t)
	for _, q := range []store.MessageQuery{{}, {Source: "shop"}, {Type: "paid"}, {EventID: "evt_1"}} {
		q.Limit = 10
		found, err := s.ListMessages(t.Context(), q)
		if err != nil || len(found) != 1 || found[0].ID != ids[3] {
			t.Errorf("%+v: found %+v, error %v", q, found, err)
		}
	}
}

// harmBlobs changes bytes all over the files of values.
func harmBlobs(t *testing.T, fs vfs.FS) {
	t.Helper()
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".blob") {
			continue
		}
		f, err := fs.OpenReadWrite(fs.PathJoin("store", name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, info.Size())
		if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for at := 40; at < len(b)-100; at += 100 {
			b[at] ^= 0xff
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
