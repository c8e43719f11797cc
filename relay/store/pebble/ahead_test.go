// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// TestPagesThatLookAheadCostWhatTheyContain goes through the open deliveries of a
// destination, and counts the memory that a page takes: without looking ahead it is
// that of the ids of all.
func TestPagesThatLookAheadCostWhatTheyContain(t *testing.T) {
	s, err := Open("store", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	const open, size = 20_000, 64
	for n := 0; n < open; n += 1000 {
		batch := make([]store.Acceptance, 1000)
		for i := range batch {
			batch[i] = costMessage(n + i)
			batch[i].Message.Request.Body = nil
			batch[i].Deliveries = []store.NewDelivery{{Destination: "d"}}
		}
		if _, err := s.Accept(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	pages := func(q store.DeliveryQuery, n int) (bytes uint64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			page, err := s.ListDeliveries(t.Context(), q)
			if err != nil || len(page) != size {
				t.Fatalf("%d deliveries, %v", len(page), err)
			}
			q.After = page[len(page)-1].ID
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / uint64(n)
	}
	q := store.DeliveryQuery{Destination: "d", Open: true, Limit: size}
	each := pages(q, 20)
	q.Ahead = new(store.Ahead)
	pages(q, 1)
	// The race detector has Pebble take new memory for what it keeps otherwise.
	if ahead := pages(q, 100); ahead*2 > each {
		t.Errorf("a page takes %d bytes, and %d without looking ahead", ahead, each)
	} else {
		t.Logf("a page takes %d bytes, and %d without looking ahead", ahead, each)
	}
}
