// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"
)

// passSite is a site at addr with one relay, /stripe, that passes, and the upstream behind it.
func passSite(addr string, u *upstream, lines ...string) string {
	block := "relay /stripe* {\n\tverify stripe " + secretA + "\n\tpass\n"
	for _, line := range lines {
		block += "\t" + line + "\n"
	}
	return site(addr, block+"}\nreverse_proxy "+u.addr)
}

// resend sends events again that have had their 2xx, from many senders at once. None may reach the app.
func resend(t *testing.T, p *provider, u *upstream, events []event) {
	t.Helper()
	before := u.requests()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < len(events); i += 8 {
				if status, err := p.try(t.Context(), events[i]); err != nil || status != http.StatusOK {
					t.Errorf("sent again, %s is answered %d, %v", events[i].id, status, err)
				}
			}
		})
	}
	wg.Wait()
	if after := u.requests(); after != before {
		t.Errorf("%d requests reached the app although their keys had got a 2xx", after-before)
	}
}

// TestP2_PassedKeysSurviveAKill kills Caddy while events pass, and sends all that have got their 2xx again.
func TestP2_PassedKeysSurviveAKill(t *testing.T) {
	t.Parallel()
	s, u, addr := newServer(t), newUpstream(t), freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	config := s.caddyfile(passSite(addr, u))
	u.turn(func(_ context.Context, r receipt) int {
		if r.sum[0]%8 == 0 { // at times the app does not take it
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	var mu sync.Mutex
	var acked []event
	for range 3 {
		s.run(config, addr)
		resend(t, p, u, acked)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for {
					ev := p.next()
					status, err := p.try(t.Context(), ev)
					if err != nil {
						return // it was killed
					}
					if status == http.StatusOK {
						mu.Lock()
						acked = append(acked, ev)
						mu.Unlock()
					}
				}
			})
		}
		enough := 0
		eventually(t, 20*time.Second, "events pass", func() bool {
			mu.Lock()
			defer mu.Unlock()
			if enough == 0 {
				enough = len(acked) + 300
			}
			return len(acked) >= enough
		})
		s.kill()
		wg.Wait()
	}
	s.run(config, addr)
	resend(t, p, u, acked)
	s.stop()
	t.Logf("%d events passed", len(acked))
	c := readStore(t, s.store)
	if n := c.open(); n != 0 {
		t.Errorf("%d deliveries", n)
	}
}

// TestPassAcrossReloads changes the configuration while an event is in the app: the next one waits for it.
func TestPassAcrossReloads(t *testing.T) {
	t.Parallel()
	s, u, addr := newServer(t), newUpstream(t), freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	s.run(s.caddyfile(passSite(addr, u)), addr)
	u.turn(slowly(time.Second))
	ev := p.next()
	first := make(chan int, 1)
	go func() {
		status, _ := p.try(t.Context(), ev)
		first <- status
	}()
	eventually(t, 10*time.Second, "the app has the event", func() bool { return u.requests() == 1 })
	s.mustLoad(s.caddyfile(passSite(addr, u, "respond 202")))
	if status, err := p.try(t.Context(), ev); err != nil || status != http.StatusAccepted {
		t.Errorf("the second gets %d, %v", status, err)
	}
	if status := <-first; status != http.StatusOK || u.requests() != 1 {
		t.Errorf("the first gets %d, %d requests reached the app", status, u.requests())
	}
	s.stop()
}
