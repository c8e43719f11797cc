// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

// memoryStore returns a store whose clock is set differently.
func memoryStore(by time.Duration) *memory.Store {
	return memory.New(memory.Options{Now: func() time.Time { return time.Now().Add(by) }})
}

// weighed is a deliverer that weighs the bodies of the attempts under way.
type weighed struct {
	mu        sync.Mutex
	now, most int
	delivered int
}

func (w *weighed) Deliver(_ context.Context, a Attempt) Result {
	w.add(len(a.Message.Request.Body))
	time.Sleep(time.Second) // virtual: only ever called inside a synctest bubble
	w.add(-len(a.Message.Request.Body))
	return Result{Outcome: store.Succeeded, Status: 200}
}

func (w *weighed) add(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now += n
	w.most = max(w.most, w.now)
	if n < 0 {
		w.delivered++
	}
}

func TestP10_BodiesThatAreReadFromTheStoreStayWithinTheMemory(t *testing.T) {
	const size, limit, each = 1 << 20, 4 << 20, 20
	bubble(t, nil, func(t *testing.T, r *rig) {
		names := []string{"a", "b", "c"}
		for i := range each {
			r.accept(strings.Repeat(string(rune('a'+i)), size), names...)
			synctest.Wait()
		}
		big := r.accept(strings.Repeat("z", 2*limit), "a").ID
		synctest.Wait()
		var w weighed
		g := r.to()
		g.MaxBuffer = limit
		for _, name := range names {
			g.Destinations = append(g.Destinations, Destination{ID: name, Deliverer: &w})
		}
		r.Attach(g)
		settle(20 * time.Second)
		// One body too many for each destination that has none else, the large one too.
		if most := limit + 2*limit + 2*size; w.most > most {
			t.Errorf("%d bytes at once, want at most %d", w.most, most)
		}
		settle(time.Minute)
		if want := 3*each + 1; w.delivered != want {
			t.Errorf("%d of %d are delivered", w.delivered, want)
		}
		if d := r.delivery(big); d.State != store.Delivered || d.Attempts != 1 {
			t.Errorf("the one that is larger than the memory is %s after %d attempts", d.State, d.Attempts)
		}
	})
}

func TestOneDestinationGetsHalfOfTheMemoryAndTheOthersPassOn(t *testing.T) {
	b := &bench{scheduler: newScheduler(), now: time.Unix(1_700_000_000, 0)}
	load := func(id string, n int) (got []string) {
		var c store.Claimed
		for range n {
			c.Deliveries = append(c.Deliveries, store.Delivery{BodySize: 10})
		}
		return b.do(event{kind: claimEnded, destination: id, claimed: c})
	}
	b.do(event{kind: configured, targets: []*target{destination("a", 64), destination("b", 64), destination("c", 64)}, memory: 100})
	for _, tt := range []struct {
		id   string
		want int
	}{{"a", 5}, {"b", 5}, {"c", 1}} {
		if got := load(tt.id, 10); len(got) != tt.want {
			t.Errorf("%s begins %d attempts, want %d", tt.id, len(got), tt.want)
		}
	}
	end := func(id string) []string {
		return b.do(event{kind: attemptEnded, destination: id, slot: slot{loaded: 10}})
	}
	if got := end("a"); len(got) != 0 {
		t.Errorf("%q while more than all is taken", got)
	}
	if got := end("a"); len(got) != 1 || !strings.HasPrefix(got[0], "try c") {
		t.Errorf("%q when memory has become free, want an attempt for the one that waits longest", got)
	}
	if got := end("a"); len(got) != 1 || !strings.HasPrefix(got[0], "try a") {
		t.Errorf("%q, want the one that came in line after that", got)
	}
	if b.loading > 100 {
		t.Errorf("%d bytes are taken", b.loading)
	}
}

func TestP11_OneDestinationNeverTakesAllOfTheEnginesSlots(t *testing.T) {
	b := newBench(destination("a", 2000), destination("b", 2000), destination("c", 2000), destination("d", 2000))
	for _, tt := range []struct {
		id   string
		want int
	}{{"a", slotsMost}, {"b", slotsMost}, {"c", slotShare}, {"d", slotShare}} {
		b.fill(tt.id, 600)
		if got := b.queues[tt.id].running; got != tt.want {
			t.Errorf("%s has %d slots, want %d", tt.id, got, tt.want)
		}
	}
}

func TestP11_RetriesGetHalfOfADestinationsSlots(t *testing.T) {
	for slots, want := range map[int]int{1: 1, 2: 1, 3: 2, 64: 32} {
		t.Run(fmt.Sprint(slots), func(t *testing.T) {
			b := newBench(destination("a", slots))
			var c store.Claimed
			for range 100 {
				c.Deliveries = append(c.Deliveries, store.Delivery{Tries: 1, BodySize: 1})
			}
			if got := b.do(event{kind: claimEnded, destination: "a", claimed: c}); len(got) != want {
				t.Errorf("%d retries at once, want %d", len(got), want)
			}
			b.fill("a", 100)
			if got := b.running; got != slots {
				t.Errorf("%d attempts run with fresh deliveries there, want %d", got, slots)
			}
			b.do(event{kind: attemptEnded, destination: "a", slot: slot{retry: true}})
			if q := b.queues["a"]; q.retrying != want || q.running != slots {
				t.Errorf("%d retries of %d attempts after one has ended", q.retrying, q.running)
			}
		})
	}
}

// TestP11_RetriesThatFillTheWindowLeaveNoSlotIdle has fresh deliveries behind them
// in the store, for which there is room only when retries have gone.
func TestP11_RetriesThatFillTheWindowLeaveNoSlotIdle(t *testing.T) {
	b := newBench(destination("a", 4))
	c := store.Claimed{More: true}
	for range readyWindow {
		c.Deliveries = append(c.Deliveries, store.Delivery{Tries: 1, BodySize: 1})
	}
	b.do(event{kind: claimEnded, destination: "a", claimed: c})
	q := b.queues["a"]
	if q.running != 4 {
		t.Errorf("%d attempts run, want 4", q.running)
	}
	for !q.claiming && q.waiting() > 0 {
		b.do(event{kind: attemptEnded, destination: "a", slot: slot{retry: true}, found: up})
	}
	if q.room() != claimBatch {
		t.Errorf("fetched with room for %d", q.room())
	}
	for range 2 {
		b.do(event{kind: attemptEnded, destination: "a", slot: slot{retry: true}, found: up})
	}
	if q.retrying != 2 {
		t.Errorf("%d retries run when fresh ones may come, want 2", q.retrying)
	}
}

func TestJobsGoInTheOrderOfTheirComing(t *testing.T) {
	b := newBench(destination("a", 1))
	var got []string
	var c store.Claimed
	for i, tries := range []uint32{0, 1, 0, 0, 1} {
		c.Deliveries = append(c.Deliveries, store.Delivery{ID: store.DeliveryID{N: uint32(i)}, Tries: tries})
	}
	actions := b.step(b.now, event{kind: claimEnded, destination: "a", claimed: c}, nil)
	for len(actions) > 0 {
		j := actions[0].leased
		got = append(got, fmt.Sprint(j.delivery.ID.N))
		actions = b.step(b.now, event{kind: attemptEnded, destination: "a", slot: j.slot}, nil)
	}
	if want := []string{"0", "1", "2", "3", "4"}; !slices.Equal(got, want) {
		t.Errorf("tried in the order %v", got)
	}
}
