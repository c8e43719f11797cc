// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// created answers 201, which is told from what the relay answers by itself.
func created(context.Context, receipt) int { return http.StatusCreated }

// TestWaitPassesOnWhatTheAppAnswers has senders wait for an app that answers, refuses and hangs. Whatever they get,
// each message is delivered.
func TestWaitPassesOnWhatTheAppAnswers(t *testing.T) {
	t.Parallel()
	s, u, addr := newServer(t), newUpstream(t), freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	s.run(s.caddyfile(stripeSite(addr, u, "wait 1s", "respond 202", "timeout 3s", "retry fixed 100ms")), addr)
	send := func(want int) time.Duration {
		t.Helper()
		begun := time.Now()
		ev := p.next()
		status, err := p.try(t.Context(), ev)
		if err != nil || status != want {
			t.Errorf("answered %d, %v, want %d", status, err, want)
		}
		p.acknowledge(ev)
		return time.Since(begun)
	}
	u.turn(created)
	send(http.StatusCreated)
	var refused atomic.Bool
	u.turn(func(context.Context, receipt) int {
		if refused.CompareAndSwap(false, true) {
			return http.StatusInternalServerError
		}
		return http.StatusCreated
	})
	send(http.StatusAccepted)
	u.awaitAll(p, 10*time.Second)
	u.turn(hangs)
	if took := send(http.StatusAccepted); took < time.Second {
		t.Errorf("answered after %s", took)
	}
	u.turn(created)
	u.awaitAll(p, 10*time.Second)
	s.stop()
	closeBooks(t, s, p, u)
}

// TestP1_KillWhileTheSenderWaits kills Caddy while a sender waits for the app: the message was safe before the app got
// it, and is delivered after the restart although its sender never got an answer.
func TestP1_KillWhileTheSenderWaits(t *testing.T) {
	t.Parallel()
	s, u, addr := newServer(t), newUpstream(t), freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	config := s.caddyfile(stripeSite(addr, u, "wait 1m", "retry fixed 100ms"))
	s.run(config, addr)
	u.turn(hangs)
	ev := p.next()
	answered := make(chan error, 1)
	go func() {
		_, err := p.try(t.Context(), ev)
		answered <- err
	}()
	eventually(t, 10*time.Second, "the app has the message", func() bool { return u.requests() == 1 })
	c := s.kill()
	if err := <-answered; err == nil {
		t.Error("the sender was answered")
	}
	u.turn(well)
	s.run(config, addr)
	eventually(t, 10*time.Second, "the message is delivered", func() bool { return u.deliveries()[ev.id] == 1 })
	if status, err := p.try(t.Context(), ev); err != nil || status != http.StatusOK {
		t.Errorf("the sender's retry: %d, %v", status, err)
	}
	p.acknowledge(ev)
	s.stop()
	closeBooks(t, s, p, u, c)
}
