// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// A store that was last written by a version that did not count open bytes knows
// them when it is open again, and so it does after a later version has written.
func TestT20_OpenBytesAreCountedWhereTheyWereNot(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open("store", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	var leases []store.Lease
	var want uint64
	for i, order := range []string{"", "", "k", "k", ""} {
		m := &store.Message{ID: store.MessageID(ulid.Make()), Request: store.Request{Body: bytes.Repeat([]byte("b"), 1<<i)}}
		answers, err := s.Accept(t.Context(), []store.Acceptance{{Message: m, Deliveries: []store.NewDelivery{{Destination: "d", OrderKey: order, Lease: time.Minute}}}})
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, answers[0].Deliveries[0].Lease())
		want += 1 << i
	}
	want -= 1 << 4
	finishes := []store.Finish{{Lease: leases[1], State: store.Waiting, Delay: time.Hour}, {Lease: leases[4], State: store.Delivered}}
	if _, err := s.Finish(t.Context(), finishes); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		old := appendUint(appendUint(appendUint(nil, 1, 5), 2, 1), 5, 4)
		if err := firstError(s.db.Set(appendBooksKey(nil, "d"), old, pebble.Sync), s.Close()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if s, err = Open("store", Options{FS: fs}); err != nil {
				t.Fatal(err)
			}
			books, err := s.Books(t.Context())
			if b := books["d"]; err != nil || b != (store.Books{Made: 5, Delivered: 1, Open: 4, OpenBytes: want}) {
				t.Errorf("books are %+v, %v, want %d open bytes", b, err, want)
			}
			if value, done, err := s.db.Get(appendBooksKey(nil, "d")); err != nil {
				t.Error(err)
			} else if _, counted, err := decodeBooks(value); err != nil || !counted {
				t.Errorf("the disk has the open bytes: %t, %v", counted, err)
			} else {
				_ = done.Close()
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if s, err = Open("store", Options{FS: fs}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// What the disk makes the writer wait for does not keep books from being read.
func TestBooksDoNotWaitForTheWriter(t *testing.T) {
	s, err := Open("store", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.unlock()
	if _, err := s.Books(t.Context()); err != nil {
		t.Errorf("Books: %v", err)
	}
}
