// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// benchBatch is how many acceptances one commit holds at most.
	benchBatch = 256
	// benchBody is the size of a body in bytes.
	benchBody = 1024
	// benchKeys is how many keys are known when duplicates are looked up.
	benchKeys = 50_000
)

// Bench measures the stores that f opens: accepting at several numbers of
// producers behind one committer, draining a backlog, and looking up duplicates.
func Bench(b *testing.B, f Factory) {
	b.Helper()
	for _, producers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("Accept/producers=%d", producers), func(b *testing.B) {
			benchAccept(b, newBench(b, f), producers)
		})
	}
	b.Run("ClaimFinish", func(b *testing.B) { benchDrain(b, newBench(b, f)) })
	b.Run("Duplicate", func(b *testing.B) { benchDuplicate(b, newBench(b, f)) })
}

// bench is an open store on the real clock.
type bench struct {
	store store.Store
	ids   *idSource
	body  []byte
}

func newBench(b *testing.B, f Factory) *bench {
	b.Helper()
	s := f(b, time.Now).Store
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Errorf("closing store: %v", err)
		}
	})
	return &bench{store: s, ids: &idSource{clock: newClock()}, body: make([]byte, benchBody)}
}

// acceptance returns an acceptance with a key and one delivery.
func (x *bench) acceptance(key uint64, lease time.Duration) store.Acceptance {
	m := x.ids.message("shop")
	m.Request.Body = x.body
	return store.Acceptance{Message: m, Key: keyOf(fmt.Sprint(key)), Window: window, Deliveries: to(lease, "a")}
}

// order is an acceptance that waits for its commit.
type order struct {
	acceptance store.Acceptance
	done       chan error
}

// commit accepts orders in batches, as many as are waiting, until there are no
// more to come.
func (x *bench) commit(b *testing.B, orders <-chan order) {
	for first := range orders {
		waiting := []order{first}
		batch := []store.Acceptance{first.acceptance}
		for range min(len(orders), benchBatch-1) {
			next := <-orders
			waiting = append(waiting, next)
			batch = append(batch, next.acceptance)
		}
		_, err := x.store.Accept(b.Context(), batch)
		for _, o := range waiting {
			o.done <- err
		}
	}
}

func benchAccept(b *testing.B, x *bench, producers int) {
	orders := make(chan order, producers)
	var committer, group sync.WaitGroup
	committer.Go(func() { x.commit(b, orders) })
	var next atomic.Int64
	latencies := make([][]time.Duration, producers)
	b.ReportAllocs()
	b.ResetTimer()
	for p := range producers {
		group.Go(func() {
			done := make(chan error, 1)
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				began := time.Now()
				orders <- order{acceptance: x.acceptance(uint64(n), time.Minute), done: done}
				if err := <-done; err != nil {
					b.Errorf("Accept: %v", err)
					return
				}
				latencies[p] = append(latencies[p], time.Since(began))
			}
		})
	}
	group.Wait()
	b.StopTimer()
	close(orders)
	committer.Wait()
	all := slices.Concat(latencies...)
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

// fill accepts n messages with pending deliveries.
func (x *bench) fill(b *testing.B, n int) {
	b.Helper()
	for from := 0; from < n; from += benchBatch {
		var batch []store.Acceptance
		for i := from; i < min(from+benchBatch, n); i++ {
			batch = append(batch, x.acceptance(uint64(i), 0))
		}
		if _, err := x.store.Accept(b.Context(), batch); err != nil {
			b.Fatalf("Accept: %v", err)
		}
	}
}

func benchDrain(b *testing.B, x *bench) {
	x.fill(b, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		c, err := x.store.Claim(b.Context(), store.ClaimRequest{Destination: "a", Limit: 64, Lease: time.Minute})
		if err != nil || len(c.Deliveries) == 0 {
			b.Fatalf("Claim: %d deliveries with %d left, error %v", len(c.Deliveries), left, err)
		}
		batch := make([]store.Finish, 0, len(c.Deliveries))
		for _, d := range c.Deliveries {
			batch = append(batch, store.Finish{Lease: d.Lease(), State: store.Delivered, Attempt: attempt(store.Succeeded, 200, "")})
		}
		if _, err := x.store.Finish(b.Context(), batch); err != nil {
			b.Fatalf("Finish: %v", err)
		}
		left -= len(batch)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

func benchDuplicate(b *testing.B, x *bench) {
	x.fill(b, benchKeys)
	b.ReportAllocs()
	key := uint64(0)
	for b.Loop() {
		key = (key + 7919) % benchKeys
		got, err := x.store.Accept(b.Context(), []store.Acceptance{x.acceptance(key, 0)})
		if err != nil || got[0].Verdict != store.DuplicateOpen {
			b.Fatalf("Accept of a duplicate: %+v, error %v", got, err)
		}
	}
}
