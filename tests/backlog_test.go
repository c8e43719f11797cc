// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

const (
	// memoryBound is what Caddy may take with a backlog of any size.
	memoryBound = 200 << 20

	// readyBound is how long after its start it has accepted the first webhook.
	readyBound = 2 * time.Second
)

// TestUpstreamDownAndBack accepts while the upstream is down. When it is back everything arrives, once.
func TestUpstreamDownAndBack(t *testing.T) {
	u := newUpstream(t)
	addr := freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	s := newServer(t)
	u.down()
	s.run(s.caddyfile(stripeSite(addr, u, "retry fixed 500ms")), addr)
	p.sendMany(5000, 64)
	if n := u.requests(); n > 0 {
		t.Fatalf("%d requests have reached an upstream that is down", n)
	}
	u.up()
	u.awaitAll(p, 60*time.Second)
	p.accepted()
	t.Logf("%d accepted while the upstream was down, peak memory %d MiB", p.acked(), checkMemory(t, s)>>20)
	s.stop()
	closeBooks(t, s, p, u)
}

// TestBacklogAfterRestart starts Caddy on a store full of messages: it accepts at once, delivers them all, once, and
// takes no more memory than with few.
func TestBacklogAfterRestart(t *testing.T) {
	n := min(2000**cycles, 1_000_000)
	u := newUpstream(t)
	addr := freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	s := newServer(t)
	seed(t, s, p, n)

	begun := time.Now()
	s.start(s.caddyfile(stripeSite(addr, u)))
	p.sendMany(1, 1)
	ready := time.Since(begun)
	if ready > readyBound && !instrumented(t) {
		t.Errorf("the first webhook was accepted %s after the start, want %s", ready, readyBound)
	}
	u.awaitAll(p, time.Minute+time.Duration(n)*time.Millisecond)
	drained := time.Since(begun)
	peak := checkMemory(t, s)
	t.Logf("%d messages: ready after %s, drained after %s (%.0f/s), peak memory %d MiB", n,
		ready.Round(time.Millisecond), drained.Round(time.Millisecond), float64(n)/drained.Seconds(), peak>>20)
	s.stop()
	closeBooks(t, s, p, u)
}

// checkMemory fails the test when the process has ever taken more memory than it may, and returns how much it was.
func checkMemory(t *testing.T, s *server) int64 {
	t.Helper()
	_, peak := s.resident()
	if peak > memoryBound && !instrumented(t) {
		t.Errorf("peak memory %d MiB, want at most %d MiB", peak>>20, memoryBound>>20)
	}
	return peak
}

// seed puts n messages into the store of a server that does not run, as if they had been accepted.
func seed(t *testing.T, s *server, p *provider, n int) {
	t.Helper()
	st, err := pebble.Open(s.store, pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const size = 500
	batch := make([]store.Acceptance, 0, size)
	for i := range n {
		ev := p.next()
		p.acknowledge(ev)
		batch = append(batch, store.Acceptance{
			Message: seeded(ev), Key: store.DedupeKey(ev.sum[:16]), Window: time.Hour,
			Deliveries: []store.NewDelivery{{Destination: "stripe:default", OrderKey: ev.lane}},
		})
		if len(batch) < size && i < n-1 {
			continue
		}
		if _, err := st.Accept(t.Context(), batch); err != nil {
			t.Fatalf("seeding: %v", err)
		}
		batch = batch[:0]
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

func seeded(ev event) *store.Message {
	return &store.Message{
		ID: store.MessageID(ulid.Make()), Source: "stripe", EventID: ev.id, Type: "invoice.paid", VerifiedBy: "stripe",
		ReceivedAt: time.Now().UTC().Truncate(time.Microsecond), BodySum: sha256.Sum256(ev.body),
		Request: store.Request{
			Method: http.MethodPost, URI: "/stripe", Host: "hooks.example.com",
			RemoteAddr: "127.0.0.1:40000", LocalAddr: "127.0.0.1:443", ClientIP: "127.0.0.1",
			Header: http.Header{
				"Content-Type": {"application/json"}, "User-Agent": {"Provider/1.0"},
				"Stripe-Signature": {stripeSignature(secretA, ev.body, time.Now())}, "X-Request-Id": {fmt.Sprintf("req_%s", ev.id)},
			},
			Body: ev.body,
		},
	}
}
