// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// instant is a store that keeps nothing, so that a benchmark shows the engine
// alone.
type instant struct {
	store.Store
	journal string
}

func (i instant) Caps() store.Caps { return store.Caps{Journal: i.journal} }

func (instant) Accept(_ context.Context, batch []store.Acceptance) ([]store.Accepted, error) {
	answers := make([]store.Accepted, len(batch))
	deliveries := make([]store.Delivery, len(batch))
	for i := range batch {
		a := &batch[i]
		answers[i] = store.Accepted{Verdict: store.Fresh, Message: a.Message.ID}
		if len(a.Deliveries) > 0 && a.Deliveries[0].Lease > 0 {
			deliveries[i] = store.Delivery{
				ID: store.DeliveryID{Message: a.Message.ID, N: 1}, Destination: a.Deliveries[0].Destination, State: store.Leased, Epoch: 1,
			}
			answers[i].Deliveries = deliveries[i : i+1 : i+1]
		}
	}
	return answers, nil
}

func (instant) Claim(context.Context, store.ClaimRequest) (store.Claimed, error) {
	return store.Claimed{}, nil
}

func (instant) Finish(_ context.Context, batch []store.Finish) ([]store.Finished, error) {
	answers := make([]store.Finished, len(batch))
	for i := range batch {
		answers[i].Delivery.State = batch[i].State
	}
	return answers, nil
}

func (instant) Books(context.Context) (map[string]store.Books, error) { return nil, nil }

func (instant) ListEntities(context.Context, store.EntityQuery) ([]store.Entity, error) {
	return nil, nil
}

func (instant) Health() store.Health { return store.Health{Durable: true} }

func (instant) Now() time.Time { return time.Now().UTC() }

func (instant) Age(t time.Time) time.Duration { return time.Since(t) }

func (instant) Close() error { return nil }

// accepting measures Accept, with a number of destinations in force that the
// messages go to.
func accepting(b *testing.B, targets ...Target) {
	path := filepath.Join(b.TempDir(), "journal")
	e := New(Options{Open: func(context.Context) (store.Store, error) { return instant{journal: path}, nil }})
	deliverer := &idle{}
	e.Attach(&Generation{Destinations: []Destination{{ID: "d", Deliverer: deliverer}}, MaxBuffer: 1 << 30})
	if err := e.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), 1024)
	header := http.Header{"Content-Type": {"application/json"}}
	var n atomic.Uint64
	b.ReportAllocs()
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for pb.Next() {
			var identity [8]byte
			binary.BigEndian.PutUint64(identity[:], n.Add(1))
			r := e.Budget().Reserve("s")
			r.Grow(int64(len(body)))
			_, err := e.Accept(ctx, Inbound{
				Message:  &store.Message{Source: "s", Request: store.Request{Method: "POST", Header: header, Body: body}},
				Identity: [][]byte{identity[:]}, Window: time.Hour, Targets: targets, Reservation: r,
			})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	if err := e.Close(); err != nil {
		b.Error(err)
	}
}

// idle answers at once and keeps nothing.
type idle struct{}

func (*idle) Deliver(context.Context, Attempt) Result {
	return Result{Outcome: store.Succeeded, Status: http.StatusOK}
}

// BenchmarkAccept shows what the engine itself costs for a message that goes
// nowhere.
func BenchmarkAccept(b *testing.B) { accepting(b) }

// BenchmarkDeliver shows the same with one delivery, from the request to the
// recorded outcome.
func BenchmarkDeliver(b *testing.B) { accepting(b, Target{Destination: "d"}) }

// BenchmarkStep shows what the scheduler costs for a delivery that is handed
// over and succeeds.
func BenchmarkStep(b *testing.B) {
	s := newBench(destination("d", 64))
	j := numbered(1)
	var space [8]action
	b.ReportAllocs()
	for b.Loop() {
		s.reserve("d")
		s.step(s.now, event{kind: handedOver, destination: "d", leased: j}, space[:0])
		s.step(s.now, event{kind: attemptEnded, destination: "d", found: up}, space[:0])
	}
}

// BenchmarkLane shows how many messages of one order key get through an engine
// on a disk, behind so many others of the key.
func BenchmarkLane(b *testing.B) {
	for _, backlog := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("backlog=%d", backlog), func(b *testing.B) {
			dir := b.TempDir()
			fill(b, dir, backlog+b.N, store.NewDelivery{Destination: "d", OrderKey: "k"}, nil)
			delivered := make(chan struct{}, b.N)
			e := New(Options{Open: func(context.Context) (store.Store, error) { return pebble.Open(dir, pebble.Options{}) }})
			e.Attach(&Generation{Destinations: []Destination{{ID: "d", Deliverer: &upstream{answer: func(ctx context.Context, a Attempt) Result {
				select {
				case delivered <- struct{}{}:
				default:
				}
				return succeeds(ctx, a)
			}}}}})
			b.ResetTimer()
			if err := e.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			for range b.N {
				<-delivered
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			b.StopTimer()
			if err := e.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

// fill puts messages with a delivery each into a store, of which end may be given
// those that were accepted together.
func fill(b *testing.B, dir string, n int, delivery store.NewDelivery, end func(store.Store, []store.Accepted) error) {
	b.Helper()
	st, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ids := newMessageIDs()
	for n > 0 {
		batch := make([]store.Acceptance, min(n, 1000))
		for i := range batch {
			m := &store.Message{ID: ids.next(time.Now()), Source: "s"}
			m.Request.Body = make([]byte, 1024)
			m.BodySum = sha256.Sum256(m.Request.Body)
			batch[i] = store.Acceptance{Message: m, Deliveries: []store.NewDelivery{delivery}}
		}
		accepted, err := st.Accept(b.Context(), batch)
		if err == nil && end != nil {
			err = end(st, accepted)
		}
		if err != nil {
			b.Fatal(err)
		}
		n -= len(batch)
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkJob shows how many dead deliveries a job gets through an engine on a
// disk, with an upstream that answers at once.
func BenchmarkJob(b *testing.B) {
	for _, action := range []store.JobAction{store.ActionRedrive, store.ActionDelete} {
		b.Run(string(action), func(b *testing.B) { runJob(b, action) })
	}
}

func runJob(b *testing.B, action store.JobAction) {
	dir := b.TempDir()
	fillDead(b, dir, b.N)
	ended := make(chan struct{})
	e := New(Options{Open: func(context.Context) (store.Store, error) {
		st, err := pebble.Open(dir, pebble.Options{})
		watched := &intercepted{Store: st}
		watched.put.set(func(e store.Entity) error {
			if job, ok := e.(*store.Job); ok && job.State.Ended() {
				close(ended)
			}
			return nil
		})
		return watched, err
	}})
	e.Attach(&Generation{Destinations: []Destination{{ID: "d", Deliverer: &idle{}}}})
	if err := e.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if _, err := e.StartJob(b.Context(), JobRequest{Action: action, Query: store.DeliveryQuery{Destination: "d"}}); err != nil {
		b.Fatal(err)
	}
	<-ended
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
	b.StopTimer()
	if err := e.Close(); err != nil {
		b.Error(err)
	}
}

// fillDead puts messages with a dead delivery to d into a store.
func fillDead(b *testing.B, dir string, n int) {
	b.Helper()
	fill(b, dir, n, store.NewDelivery{Destination: "d", Lease: time.Hour}, func(st store.Store, accepted []store.Accepted) error {
		ends := make([]store.Finish, len(accepted))
		for i := range accepted {
			ends[i] = store.Finish{Lease: accepted[i].Deliveries[0].Lease(), State: store.Dead}
		}
		_, err := st.Finish(b.Context(), ends)
		return err
	})
}
