// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// acceptOrdered accepts n messages with a delivery to "d" in the lane of a key.
func acceptOrdered(tb testing.TB, s *Store, n int, key string) []store.DeliveryID {
	tb.Helper()
	batch := make([]store.Acceptance, n)
	for i := range batch {
		m := &store.Message{ID: store.MessageID(ulid.Make()), Source: "s"}
		m.Request.Body = make([]byte, 1024)
		batch[i] = store.Acceptance{Message: m, Deliveries: []store.NewDelivery{{Destination: "d", OrderKey: key}}}
	}
	answers, err := s.Accept(tb.Context(), batch)
	if err != nil {
		tb.Fatal(err)
	}
	ids := make([]store.DeliveryID, n)
	for i := range answers {
		ids[i] = answers[i].Deliveries[0].ID
	}
	return ids
}

// advance claims and finishes the head of the only lane.
func advance(tb testing.TB, s *Store) store.DeliveryID {
	tb.Helper()
	c, err := s.Claim(tb.Context(), store.ClaimRequest{Destination: "d", Limit: 10, Lease: time.Minute})
	if err != nil || len(c.Deliveries) != 1 {
		tb.Fatalf("claimed %d, %v", len(c.Deliveries), err)
	}
	finished, err := s.Finish(tb.Context(), []store.Finish{{Lease: c.Deliveries[0].Lease(), State: store.Delivered}})
	if err != nil || finished[0].Err != nil {
		tb.Fatal(err, finished)
	}
	return c.Deliveries[0].ID
}

func TestLostDeliveryDoesNotStopTheLaneAheadOfIt(t *testing.T) {
	for name, harm := range damage {
		t.Run(name, func(t *testing.T) {
			s, err := Open("store", Options{FS: vfs.NewMem()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			ids := acceptOrdered(t, s, 4, "k")
			for _, victim := range []int{1, 2} {
				if err := harm(s, appendDeliveryKey(nil, ids[victim])); err != nil {
					t.Fatal(err)
				}
			}
			if got := advance(t, s); got != ids[0] {
				t.Errorf("first is %s", got)
			}
			if got := advance(t, s); got != ids[3] {
				t.Errorf("behind those that are lost is %s", got)
			}
			ids = acceptOrdered(t, s, 1, "k")
			if got := advance(t, s); got != ids[0] {
				t.Errorf("last is %s", got)
			}
		})
		t.Run("the head: "+name, func(t *testing.T) {
			opts := Options{FS: vfs.NewMem()}
			s, err := Open("store", opts)
			if err != nil {
				t.Fatal(err)
			}
			ids := acceptOrdered(t, s, 4, "k")
			if err := harm(s, appendDeliveryKey(nil, ids[0])); err != nil {
				t.Fatal(err)
			}
			c, err := s.Claim(t.Context(), store.ClaimRequest{Destination: "d", Limit: 10, Lease: time.Minute})
			if err != nil || len(c.Deliveries) != 0 || !c.More {
				t.Fatalf("claimed %+v, %v", c, err)
			}
			if got := advance(t, s); got != ids[1] {
				t.Errorf("behind the one that is lost is %s", got)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open("store", opts); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			for _, want := range ids[2:] { // one at a time still
				if got := advance(t, s); got != want {
					t.Errorf("then comes %s, want %s", got, want)
				}
			}
		})
	}
}

// What is blocked costs those who claim nothing, and what has left a lane nobody
// who is in it.
func TestLanesLeaveNothingBehind(t *testing.T) {
	s, err := Open("store", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for i := range 20 {
		acceptOrdered(t, s, 5, fmt.Sprint(i%4))
	}
	if due, blocked := countKeys(t, s, spaceDue), countKeys(t, s, spaceBlocked); due != 4 || blocked != 96 {
		t.Errorf("%d due keys and %d of blocked deliveries", due, blocked)
	}
	for left := 100; left > 0; {
		c, err := s.Claim(t.Context(), store.ClaimRequest{Destination: "d", Limit: 10, Lease: time.Minute})
		if err != nil || len(c.Deliveries) == 0 {
			t.Fatalf("claimed %d, %v", len(c.Deliveries), err)
		}
		var batch []store.Finish
		for _, d := range c.Deliveries {
			batch = append(batch, store.Finish{Lease: d.Lease(), State: store.Delivered})
		}
		if _, err := s.Finish(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		left -= len(batch)
	}
	for _, space := range []byte{spaceDue, spaceLane, spaceBlocked} {
		if n := countKeys(t, s, space); n != 0 {
			t.Errorf("%d keys are left in %x", n, space)
		}
	}
	if len(s.kept) != 0 {
		t.Errorf("%d deliveries are kept in memory", len(s.kept))
	}
}

func countKeys(t *testing.T, s *Store, space byte) (n int) {
	t.Helper()
	it, err := s.iterate([]byte{space})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = it.Close() }()
	for it.First(); it.Valid(); it.Next() {
		n++
	}
	return n
}

// BenchmarkLane measures one lane, and one of many, with so many deliveries
// blocked in it.
func BenchmarkLane(b *testing.B) {
	for _, backlog := range []int{0, 1_000, 100_000} {
		b.Run(fmt.Sprintf("backlog=%d", backlog), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			for n := 0; n < backlog; n += 1_000 {
				acceptOrdered(b, s, 1_000, "k")
			}
			for b.Loop() {
				acceptOrdered(b, s, 1, "k")
				advance(b, s)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
