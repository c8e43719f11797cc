// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestT5_FullDiskAndBack fills the volume of the store, to the mark and then to the end, and gives the space back. Within
// a second of the mark new webhooks are answered with 503 and Retry-After, deliveries go on all the time, the process
// stays up, and within ten seconds of the space it accepts again. Nothing is lost.
func TestT5_FullDiskAndBack(t *testing.T) {
	v, mounted := newVolume(t, 128<<20)
	if !mounted {
		return
	}
	u := newUpstream(t)
	addr, other := freeAddress(t), freeAddress(t)
	s := newServer(t)
	s.store = filepath.Join(v.dir, "store")
	config := s.caddyfile(stripeSite(addr, u, "retry fixed 300ms")+site(other, "respond 200"),
		"relay:min_free 24MiB", "relay:retention never")
	s.run(config, addr)
	p := newProvider(t, "http://"+addr+"/stripe")
	plain := newProvider(t, "http://"+other+"/")
	p.sendMany(20, 1)
	for cycle := range max(1, *cycles/100) {
		fillAndFree(t, cycle, v, s, p, u, plain)
	}
	if text := "the store is on tmpfs"; !s.logged(text) || !strings.Contains(string(s.adminGet("/metrics")), "caddy_relay_store_doubtful{") {
		t.Errorf("nothing says that %s", text)
	}
	s.stop()
	closeBooks(t, s, p, u)
	t.Logf("%d accepted, %d delivered in %d requests, statuses %v", p.acked(), u.events(), u.requests(), p.seen())
}

// fillAndFree is one cycle of it.
func fillAndFree(t *testing.T, cycle int, v *volume, s *server, p *provider, u *upstream, plain *provider) {
	t.Helper()
	const workers = 8
	stop := p.load(workers, time.Millisecond)
	u.turn(func(context.Context, receipt) int { return http.StatusInternalServerError })
	before := p.acked()
	eventually(t, 30*time.Second, "a backlog grows", func() bool { return p.acked() > before+1000 })

	v.leave(16 << 20) // what the store gives back meanwhile does not come up to the mark
	marked := time.Now()
	refused := firstStatus(t, p, http.StatusServiceUnavailable, 5*time.Second)
	if took := refused.Sub(marked); took > time.Second {
		t.Errorf("cycle %d: the first 503 came %s after the mark was passed", cycle, took)
	}
	for range 20 {
		if status := postNext(t, p); status != http.StatusServiceUnavailable {
			t.Errorf("cycle %d: status %d below the mark", cycle, status)
		}
	}
	atMark := p.acked()
	v.leave(0)
	awaitReserve(t, s, false, 30*time.Second)
	u.turn(well)
	u.awaitAll(p, 30*time.Second)
	plain.sendMany(1, 1)
	if n := p.acked() - atMark; n > workers { // but for what was under way
		t.Errorf("cycle %d: %d webhooks were accepted below the mark", cycle, n)
	}
	v.giveBack()
	freed := time.Now()
	accepted := firstStatus(t, p, http.StatusOK, 30*time.Second)
	if took := accepted.Sub(freed); took > 10*time.Second {
		t.Errorf("cycle %d: the first 2xx came %s after there was space", cycle, took)
	}
	stop()
	u.awaitAll(p, 30*time.Second)
	awaitReserve(t, s, true, 10*time.Second)
	t.Logf("cycle %d: 503 after %s, 200 after %s", cycle,
		refused.Sub(marked).Round(time.Millisecond), accepted.Sub(freed).Round(time.Millisecond))
	if !s.running() {
		t.Fatal("the process has ended")
	}
}

// awaitReserve waits until the store has its reserve, or has used it.
func awaitReserve(t *testing.T, s *server, there bool, within time.Duration) {
	t.Helper()
	what := "failed attempts are recorded until the reserve is used"
	if there {
		what = "the reserve is there again"
	}
	eventually(t, within, what, func() bool {
		_, err := os.Stat(filepath.Join(s.store, "ballast"))
		return there == (err == nil)
	})
}

// postNext sends a new event once and returns the status.
func postNext(t *testing.T, p *provider) int {
	t.Helper()
	ev := p.next()
	resp, err := p.post(t.Context(), ev.body, http.Header{"Stripe-Signature": {stripeSignature(p.secret, ev.body, time.Now())}})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		p.acknowledge(ev)
	case http.StatusServiceUnavailable:
		if resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
	return resp.StatusCode
}

// firstStatus sends events until one is answered with the status, and returns when that was.
func firstStatus(t *testing.T, p *provider, status int, within time.Duration) time.Time {
	t.Helper()
	eventually(t, within, "an answer of "+http.StatusText(status), func() bool { return postNext(t, p) == status })
	return time.Now()
}
