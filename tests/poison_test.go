// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// TestC20_PoisonGoesToTheDeadLetters has an upstream that kills Caddy as soon as it sees one of many messages. After
// three deaths for which nothing else can be the reason, and one before them at most, that message is dead, and all
// others are delivered.
func TestC20_PoisonGoesToTheDeadLetters(t *testing.T) {
	u := newUpstream(t)
	addr := freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	s := newServer(t)
	poison := p.next()
	config := s.caddyfile(stripeSite(addr, u))
	var life sync.Mutex // held while a process is started, so that it is always the right one that is killed
	begin := func() {
		life.Lock()
		defer life.Unlock()
		s.start(config)
	}
	killed := make(chan time.Time, 10)
	calm := slowly(20 * time.Millisecond)
	u.turn(func(ctx context.Context, r receipt) int {
		if r.eventID != poison.id {
			return calm(ctx, r)
		}
		life.Lock()
		defer life.Unlock()
		killed <- time.Now()
		_ = s.cmd.Process.Kill()
		return 0
	})
	begin()
	s.awaitReady(addr)
	stop := p.load(8, time.Millisecond)
	defer stop()
	eventually(t, 10*time.Second, "others are under way", func() bool { return u.requests() > 50 })
	var sending sync.WaitGroup
	sending.Go(func() { p.send(t.Context(), poison) }) // it may be answered in the next life only
	var crashes []crash
	given := func() bool { return s.logged("delivery is dead", `"outcome":"poison"`) }
	for len(crashes) < 6 {
		eventually(t, 30*time.Second, "it dies or gives up", func() bool { return !s.running() || given() })
		if s.running() {
			break
		}
		crashes = append(crashes, crash{from: <-killed, to: time.Now(), slack: p.slowestAnswer()})
		begin()
	}
	if !s.running() {
		t.Fatalf("Caddy still dies after %d times", len(crashes))
	}
	if n := len(crashes); n < 3 || n > 4 {
		t.Errorf("it took %d deaths", n)
	}
	sending.Wait()
	stop()
	u.turn(well)
	eventually(t, 30*time.Second, "all others are delivered", func() bool {
		return !slices.ContainsFunc(owed(p, u), func(id string) bool { return id != poison.id })
	})
	s.stop()
	checkPoisoned(t, s, poison.id)
	closeBooks(t, s, p, u, crashes...)
}

// checkPoisoned looks whether the one message of an event is a dead letter for what it did.
func checkPoisoned(t *testing.T, s *server, event string) {
	t.Helper()
	c := lookUp(t, s.store, []string{event})
	for _, id := range c.messages[event] {
		if d := c.deliveries[id][0]; d.State != store.Dead || !strings.HasPrefix(d.LastError, "poison: ") {
			t.Errorf("the poison is %s: %q", d.State, d.LastError)
		}
	}
	if len(c.messages[event]) != 1 {
		t.Errorf("%d messages of the poison", len(c.messages[event]))
	}
}
