// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// healthyDestinations is how many destinations are well beside the one that hangs.
const healthyDestinations = 99

// isolation is an engine on a store on disk, in this process: what is compared is the dispatcher and the store, and not
// how fast HTTP is on a busy machine.
type isolation struct {
	*relay.Engine
	t        *testing.T
	mu       sync.Mutex
	waits    []time.Duration // of the messages to those that are well, from their acceptance
	arrived  chan struct{}
	hanging  atomic.Int32
	mostHung atomic.Int32
	number   atomic.Uint64
}

// Deliver takes note of how long the message has taken.
func (i *isolation) Deliver(_ context.Context, a relay.Attempt) relay.Result {
	waited := time.Since(time.UnixMicro(int64(binary.BigEndian.Uint64(a.Message.Request.Body))))
	i.mu.Lock()
	i.waits = append(i.waits, waited)
	i.mu.Unlock()
	i.arrived <- struct{}{}
	return relay.Result{Outcome: store.Succeeded, Status: http.StatusOK}
}

// hung is a destination that takes requests and never answers.
type hung struct{ *isolation }

func (h hung) Deliver(ctx context.Context, _ relay.Attempt) relay.Result {
	now := h.hanging.Add(1)
	defer h.hanging.Add(-1)
	for most := h.mostHung.Load(); now > most && !h.mostHung.CompareAndSwap(most, now); {
		most = h.mostHung.Load()
	}
	<-ctx.Done()
	return relay.Result{Outcome: store.TimedOut, Err: ctx.Err()}
}

// newIsolation opens a store with a backlog for the destination that hangs.
func newIsolation(t *testing.T, backlog int) *isolation {
	dir := t.TempDir()
	fill(t, dir, backlog)
	i := &isolation{t: t, arrived: make(chan struct{}, 1<<20)}
	i.Engine = relay.New(relay.Options{Open: func(context.Context) (store.Store, error) {
		return pebble.Open(dir, pebble.Options{})
	}})
	g := &relay.Generation{DedupeWindow: time.Hour, Destinations: []relay.Destination{{ID: "hung", Deliverer: hung{i}, Timeout: 2 * time.Second}}}
	for n := range healthyDestinations {
		g.Destinations = append(g.Destinations, relay.Destination{ID: fmt.Sprint("well", n), Deliverer: i})
	}
	i.Attach(g)
	if err := i.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

// fill puts n deliveries for the destination that hangs into a store.
func fill(t *testing.T, dir string, n int) {
	st, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 512)
	sum := sha256.Sum256(body)
	for n > 0 {
		batch := make([]store.Acceptance, min(n, 500))
		for k := range batch {
			batch[k] = store.Acceptance{
				Message: &store.Message{
					ID: store.MessageID(ulid.Make()), Source: "s", ReceivedAt: time.Now().UTC(), BodySum: sum,
					Request: store.Request{Method: "POST", URI: "/", Body: body},
				},
				Deliveries: []store.NewDelivery{{Destination: "hung"}},
			}
		}
		if _, err := st.Accept(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		n -= len(batch)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// load sends messages to those that are well, waits until all have arrived, and returns how many that were per second
// and what 99 % of them took at most.
func (i *isolation) load(messages int) (rate float64, p99 time.Duration) {
	i.t.Helper()
	i.waits = nil
	begun := time.Now()
	var senders sync.WaitGroup
	for range 16 {
		senders.Go(func() {
			for range messages / 16 {
				i.send()
			}
		})
	}
	senders.Wait()
	for range messages / 16 * 16 {
		select {
		case <-i.arrived:
		case <-time.After(time.Minute):
			i.t.Fatal("messages to the destinations that are well do not arrive")
		}
	}
	rate = float64(messages) / time.Since(begun).Seconds()
	i.mu.Lock()
	defer i.mu.Unlock()
	slices.Sort(i.waits)
	return rate, i.waits[len(i.waits)*99/100]
}

func (i *isolation) send() {
	n := i.number.Add(1)
	body := make([]byte, 512)
	binary.BigEndian.PutUint64(body, uint64(time.Now().UnixMicro()))
	binary.BigEndian.PutUint64(body[8:], n)
	_, err := i.Accept(context.Background(), relay.Inbound{
		Message:  &store.Message{Source: "s", ReceivedAt: time.Now().UTC(), Request: store.Request{Method: "POST", URI: "/", Body: body}},
		Identity: [][]byte{body[:16]}, Window: time.Hour,
		Targets: []relay.Target{{Destination: fmt.Sprint("well", n%healthyDestinations)}},
	})
	if err != nil {
		i.t.Error(err)
	}
}

// TestT13_AHungDestinationWithABacklogDelaysNobodyElse compares two engines, of which one has a destination that hangs
// and a backlog for it. How fast they are it only tells: other work on the machine would decide over it.
func TestT13_AHungDestinationWithABacklogDelaysNobodyElse(t *testing.T) {
	backlog, messages, rounds := min(2000**cycles, 1_000_000), min(400**cycles, 100_000), 5
	if *cycles < 100 {
		rounds = 1 // it is what holds that is looked at then, and not the figures
	}
	quiet, beside := newIsolation(t, 0), newIsolation(t, backlog)
	eventually(t, 30*time.Second, "attempts hang", func() bool { return beside.hanging.Load() > 0 })
	var rates, slow []float64
	for range rounds {
		rate, p99 := quiet.load(messages)
		besideRate, besideP99 := beside.load(messages)
		rates, slow = append(rates, besideRate/rate), append(slow, float64(besideP99)/float64(p99))
		t.Logf("%.0f/s and p99 %s alone, %.0f/s and %s beside one that hangs with %d waiting", rate, p99, besideRate, besideP99, backlog)
	}
	slices.Sort(rates)
	slices.Sort(slow)
	t.Logf("medians of %d: %.2f of the rate, %.2f of the p99", rounds, rates[rounds/2], slow[rounds/2])
	if n := beside.mostHung.Load(); n > relay.DefaultMaxInFlight {
		t.Errorf("%d attempts hung at once", n)
	}
	books, err := beside.Books(t.Context())
	if b := books["hung"]; err != nil || b.Open != uint64(backlog) {
		t.Errorf("books of the one that hangs are %+v, error %v", b, err)
	}
}
