// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
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
