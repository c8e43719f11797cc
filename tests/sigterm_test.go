// SPDX-License-Identifier: Apache-2.0

//go:build unix

package tests

import (
	"context"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("sending %s: %v", sig, err)
	}
}

// TestP12_Sigterm ends Caddy while it accepts and delivers. Caddy stops its apps in random order, so this is done
// often. The upstream answers within the grace period: nothing is lost, and nothing delivered twice.
func TestP12_Sigterm(t *testing.T) {
	u := newUpstream(t)
	u.turn(slowly(30 * time.Millisecond))
	addr := freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	s := newServer(t)
	config := s.caddyfile(stripeSite(addr, u))
	stop := p.load(16, 0)
	defer stop()
	for range max(1, *cycles/5) {
		enough := p.acked() + 200
		s.start(config)
		eventually(t, 30*time.Second, "webhooks are accepted", func() bool { return p.acked() >= enough })
		s.signal(syscall.SIGTERM)
		if code := s.awaitExit(15 * time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
		checkOwed(t, s, p, u)
		if t.Failed() {
			t.FailNow()
		}
	}
	s.run(config, addr)
	stop()
	u.awaitAll(p, 30*time.Second)
	p.accepted()
	s.stop()
	closeBooks(t, s, p, u)
	t.Logf("%d accepted, %d requests at the upstream", p.acked(), u.requests())
}

// TestP12_SigtermCutsOffLongAttempts ends Caddy while the upstream does not answer: after the grace period it goes,
// and the attempts are made again after the next start, without one having been counted.
func TestP12_SigtermCutsOffLongAttempts(t *testing.T) {
	u := newUpstream(t)
	u.turn(hangs)
	addr := freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	s := newServer(t)
	// An attempt that counted would be the last one.
	config := s.caddyfile(stripeSite(addr, u, "retry off"), "relay:grace_period 500ms")
	s.run(config, addr)
	p.sendMany(100, 10)
	eventually(t, 10*time.Second, "attempts are under way", func() bool { return u.requests() >= 64 })
	// Caddy waits up to five seconds for a connection on which nothing has been sent yet.
	p.client.CloseIdleConnections()
	begun := time.Now()
	s.signal(syscall.SIGTERM)
	s.awaitExit(10 * time.Second)
	if took := time.Since(begun); took < 500*time.Millisecond || took > 5*time.Second {
		t.Errorf("Caddy ended after %s with a grace period of 500ms", took)
	}
	u.turn(well)
	s.run(config, addr)
	u.awaitAll(p, 30*time.Second)
	s.stop()
	closeBooks(t, s, p, u)
}

// TestP12_SecondSignalIsACrash sends a second signal while Caddy still waits for attempts: it ends at once, and loses
// nothing.
func TestP12_SecondSignalIsACrash(t *testing.T) {
	u := newUpstream(t)
	u.turn(hangs)
	addr := freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	s := newServer(t)
	config := s.caddyfile(stripeSite(addr, u), "relay:grace_period 20s")
	s.run(config, addr)
	p.sendMany(100, 10)
	eventually(t, 10*time.Second, "attempts are under way", func() bool { return u.requests() >= 64 })
	s.signal(syscall.SIGINT)
	eventually(t, 10*time.Second, "Caddy shuts down", func() bool { return s.logged("shutting down") })
	s.signal(syscall.SIGINT)
	s.awaitExit(5 * time.Second)
	checkOwed(t, s, p, u)
	u.turn(well)
	s.run(config, addr)
	u.awaitAll(p, 30*time.Second)
	s.stop()
	closeBooks(t, s, p, u)
}

// TestP12_AcceptGoesOnDuringShutdownDelay ends Caddy with a shutdown_delay, in which load balancers are to learn that
// it goes: until its listeners close it accepts as ever, even though it no longer delivers.
func TestP12_AcceptGoesOnDuringShutdownDelay(t *testing.T) {
	u := newUpstream(t)
	addr := freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	s := newServer(t)
	config := s.caddyfile(stripeSite(addr, u), "shutdown_delay 700ms")
	for range 6 {
		s.run(config, addr)
		p.sendMany(20, 4)
		s.signal(syscall.SIGTERM)
		if n := sendUntilClosed(t, p, s); n < 20 {
			t.Errorf("only %d webhooks were accepted during the delay", n)
		}
		s.awaitExit(15 * time.Second)
		checkOwed(t, s, p, u)
	}
	s.run(s.caddyfile(stripeSite(addr, u)), addr)
	u.awaitAll(p, 30*time.Second)
	s.stop()
	closeBooks(t, s, p, u)
}

// sendUntilClosed sends webhooks while the server ends, and returns how many were accepted. It fails the test for any
// other status than 200.
func sendUntilClosed(t *testing.T, p *provider, s *server) int {
	t.Helper()
	before := p.acked()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for s.running() && ctx.Err() == nil {
				ev := p.next()
				status, err := p.try(ctx, ev)
				if err != nil {
					return // the listeners are closed
				}
				if status != http.StatusOK {
					t.Errorf("a webhook was answered with %d during the delay", status)
					return
				}
				p.acknowledge(ev)
			}
		})
	}
	wg.Wait()
	p.client.CloseIdleConnections()
	return p.acked() - before
}
