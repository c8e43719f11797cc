// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestP1_KillUnderLoad kills Caddy under load, again and again on one store. Everything that was answered with a 2xx
// is delivered, or still open in what the crash left on disk; nothing is delivered twice but what was under way, or
// answered within the last moments before the crash.
func TestP1_KillUnderLoad(t *testing.T) {
	u := newUpstream(t)
	addr := freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	s := newServer(t)
	config := s.caddyfile(stripeSite(addr, u, "retry fixed 100ms"))

	stop := p.load(32, 0)
	defer stop()
	var crashes []crash
	var slowest time.Duration
	for cycle := range *cycles {
		begun := time.Now()
		steady := trouble(u, cycle)
		before := p.acked()
		startAgain(crashes)
		s.start(config)
		eventually(t, 30*time.Second, "the first webhook after a start is accepted", func() bool { return p.acked() > before })
		slowest = max(slowest, time.Since(begun))
		p.mark()
		enough := before + 200 + rand.IntN(800)
		eventually(t, 30*time.Second, "webhooks are accepted", func() bool { return p.acked() >= enough })
		c := s.kill()
		c.slack = p.slowestAnswer()
		crashes = append(crashes, c)
		steady()
		checkOwed(t, s, p, u)
		if t.Failed() {
			t.Fatalf("in cycle %d", cycle)
		}
	}
	startAgain(crashes)
	s.start(config)
	s.awaitReady(addr)
	stop()
	u.awaitAll(p, 30*time.Second)
	s.stop()
	closeBooks(t, s, p, u, crashes...)
	var slack time.Duration
	for _, c := range crashes {
		slack = max(slack, c.slack)
	}
	t.Logf("%d kills, %d accepted, %d delivered in %d requests, slowest start to first accept %s, slowest accept before a kill %s, statuses %v",
		len(crashes), p.acked(), u.events(), u.requests(), slowest.Round(time.Millisecond), slack.Round(time.Millisecond), p.seen())
}

// trouble makes the upstream slow in one cycle of four, refuse some first attempts in another, and come and go in a
// third, until the function that it returns is called.
func trouble(u *upstream, cycle int) (end func()) {
	switch cycle % 4 {
	case 1:
		u.turn(slowly(20 * time.Millisecond))
	case 2:
		u.turn(func(_ context.Context, r receipt) int {
			if r.attempt == 1 && r.sum[0]%4 == 0 {
				return http.StatusInternalServerError
			}
			return http.StatusOK
		})
	case 3:
		return flap(u)
	}
	return func() { u.turn(well) }
}

// flap makes the upstream come and go until the function that it returns is called.
func flap(u *upstream) (end func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			u.down()
			over := wait(quit, 50*time.Millisecond)
			u.up()
			if over || wait(quit, 50*time.Millisecond) {
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// wait reports whether quit was closed before d had passed.
func wait(quit <-chan struct{}, d time.Duration) bool {
	select {
	case <-quit:
		return true
	case <-time.After(d):
		return false
	}
}

// checkOwed looks into a copy of what the crash has left on disk: all that was accepted and has not reached the
// upstream has to be there. It is a copy so that the next start finds what the crash left, and not what the judge has
// made of it.
func checkOwed(t *testing.T, s *server, p *provider, u *upstream) {
	t.Helper()
	missing := owed(p, u)
	if len(missing) == 0 {
		return
	}
	copied := filepath.Join(s.dir, "copy")
	copyStore(t, s.store, copied)
	defer func() { _ = os.RemoveAll(copied) }()
	c := lookUp(t, copied, missing)
	missing = slices.DeleteFunc(missing, c.owes)
	// The process is dead, but the upstream may still be about to write down what it has answered.
	poll(5*time.Second, func() bool {
		missing = slices.DeleteFunc(missing, func(id string) bool { return u.deliveries()[id] > 0 })
		return len(missing) == 0
	})
	for _, id := range missing {
		t.Errorf("lost: %s was accepted and is neither delivered nor open; %s", id, c.say(id))
	}
}

// copyStore copies the directory of a store that no process uses. Tables and values are never changed once they are
// written, so a link to them will do.
func copyStore(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err == nil {
		err = os.Mkdir(to, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if ext := filepath.Ext(e.Name()); ext == ".sst" || ext == ".blob" || e.Name() == "ballast" {
			if err := os.Link(source, target); err != nil {
				t.Fatal(err)
			}
			continue
		}
		content, err := os.ReadFile(source)
		if err == nil {
			err = os.WriteFile(target, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
