// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"sync"
	"testing"
	"time"
)

const (
	// connections is how many senders hold one at once.
	connections = 2000

	// connectionSize is what Caddy itself may need for one.
	connectionSize = 64 << 10
)

// TestT14_FiveTimesOverCapacity finds out how much Caddy on one core accepts, and then sends it five times as much:
// half of it duplicates, one in twenty of a sender that never sends again, to an upstream that is slow. It answers with
// 200 and 503 only, loses nothing, keeps its memory, and refuses the one that does not send again last.
func TestT14_FiveTimesOverCapacity(t *testing.T) {
	t.Setenv("GOMAXPROCS", "1") // for Caddy alone: this process has begun
	measure, over := 2*time.Second, 6*time.Second
	if *cycles >= 1000 {
		measure, over = 10*time.Second, time.Minute
	}
	u := newUpstream(t)
	u.turn(slowly(50 * time.Millisecond))
	addr := freeAddress(t)
	s := newServer(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	s.run(s.caddyfile(site(addr, stripeRelay(u, "max_size 64KiB")+
		"\nrelay /github http://"+u.addr+"/webhooks/github {\n\tverify github "+secretA+"\n\tmax_size 64KiB\n}"), "relay:max_buffer 512KiB"), addr)

	f := &flood{t: t, addr: addr}
	load := mixed(p)
	peak := f.run(256, 0, measure, load)
	capacity := float64(peak["stripe"].accepted()+peak["github"].accepted()) / measure.Seconds()
	begun := time.Now()
	counts := f.run(connections, 5*capacity, over, load)
	took := time.Since(begun)
	_, memory := s.resident()

	stripe, github := counts["stripe"], counts["github"]
	sent := 0
	for kind, c := range counts {
		for status, n := range c.statuses {
			if sent += n; status != 200 && status != 503 {
				t.Errorf("%s: %d requests were answered with %d", kind, n, status)
			}
		}
		if c.hasty > 0 {
			t.Errorf("%s: %d times 503 without Retry-After", kind, c.hasty)
		}
		if c.failures > 0 {
			t.Errorf("%s: %d requests got no answer; the last: %v", kind, c.failures, c.lastErr)
		}
	}
	if bound := int64(memoryBound + connections*connectionSize); memory > bound && !instrumented(t) {
		t.Errorf("peak memory %d MiB, want at most %d MiB", memory>>20, bound>>20)
	}
	if github.refused() > stripe.refused() {
		t.Errorf("%.4f of GitHub's requests were refused, and %.4f of those of a sender that sends again", github.refused(), stripe.refused())
	}
	goodput := float64(stripe.accepted()+github.accepted()) / took.Seconds()
	t.Logf("peak %.0f/s; offered %.0f/s (%.1f x), accepted %.0f/s (%.2f of the peak), refused %.3f of Stripe's and %.4f of GitHub's; "+
		"of the accepted p50 %s p99 %s, GitHub's p99 %s; peak memory %d MiB",
		capacity, float64(sent)/took.Seconds(), float64(sent)/took.Seconds()/capacity, goodput, goodput/capacity, stripe.refused(), github.refused(),
		stripe.percentile(0.5).Round(time.Millisecond), stripe.percentile(0.99).Round(time.Millisecond),
		github.percentile(0.99).Round(time.Millisecond), memory>>20)

	u.turn(well)
	u.awaitAll(p, 2*time.Minute)
	s.stop()
	closeBooks(t, s, p, u)
}

// mixed makes up requests: of twenty one is GitHub's, and of the others half repeat one that was sent before.
func mixed(p *provider) func(n int) request {
	var mu sync.Mutex
	var former []event
	return func(n int) request {
		if n%20 == 0 {
			return githubRequest(p, p.next())
		}
		mu.Lock()
		defer mu.Unlock()
		if n%2 == 0 && len(former) > 0 {
			ev := former[len(former)-1]
			former = former[:len(former)-1]
			return stripeRequest(p, ev)
		}
		ev := p.next()
		former = append(former, ev)
		return stripeRequest(p, ev)
	}
}
