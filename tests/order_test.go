// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

// poisoned reports whether the upstream refuses an event for ever.
func poisoned(sum [32]byte) bool { return sum[1]%16 == 0 }

// unsteady has the upstream refuse some events for ever, and beside that makes it slow, has it refuse some first
// attempts, or come and go, until the function that it returns is called.
func unsteady(u *upstream, cycle int) (end func()) {
	moods := [...]behavior{well, slowly(5 * time.Millisecond), func(_ context.Context, r receipt) int {
		if r.attempt == 1 && r.sum[0]%4 == 0 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	}}
	mood := moods[cycle%len(moods)]
	u.turn(func(ctx context.Context, r receipt) int {
		if poisoned(r.sum) {
			return http.StatusUnprocessableEntity
		}
		return mood(ctx, r)
	})
	if cycle%4 == 3 {
		return flap(u)
	}
	return func() {}
}

// orderSite is a site whose relay keeps the order of each customer's events; each of its variants differs.
func orderSite(addr string, u *upstream, variant int, orderBy string) string {
	return stripeSite(addr, u, orderBy, fmt.Sprintf("max_in_flight %d", 8+variant), "retry fixed 50ms {", "never 422", "}")
}

// TestP6_OrderOverKillsAndReloads sends events of few customers, reloads and kills Caddy, again and again on one store,
// beginning with a backlog on disk. What one customer did comes in the order in which it was sent, one at a time; what
// is refused for ever lets the next one go, and what is about nobody goes on beside it.
func TestP6_OrderOverKillsAndReloads(t *testing.T) {
	u := newUpstream(t)
	addr := freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	p.customers = 12
	s := newServer(t)
	seed(t, s, p, 2000)
	const orderBy = "order_by {http.relay.body.customer}"

	stop := p.load(16, time.Millisecond)
	defer stop()
	var crashes []crash
	for cycle := range max(4, *cycles/5) {
		steady := unsteady(u, cycle)
		before := p.acked()
		startAgain(crashes)
		s.start(s.caddyfile(orderSite(addr, u, cycle, orderBy)))
		eventually(t, 30*time.Second, "the first webhook after a start is accepted", func() bool { return p.acked() > before })
		p.mark()
		for reload := range 3 {
			enough := p.acked() + 50 + rand.IntN(200)
			eventually(t, 30*time.Second, "webhooks are accepted", func() bool { return p.acked() >= enough })
			s.mustLoad(s.caddyfile(orderSite(addr, u, cycle+reload+1, orderBy)))
		}
		c := s.kill()
		c.slack = p.slowestAnswer()
		crashes = append(crashes, c)
		steady()
	}
	unsteady(u, 0)
	s.run(s.caddyfile(orderSite(addr, u, 0, orderBy)), addr)
	stop()
	awaitDone(s)
	s.stop()
	closeBooks(t, s, p, u, crashes...)
	t.Logf("%d kills, %d accepted, %d delivered in %d requests", len(crashes), p.acked(), u.events(), u.requests())
}

// awaitDone waits until nothing is open any more.
func awaitDone(s *server) {
	s.t.Helper()
	eventually(s.t, time.Minute, "all deliveries have ended", func() bool {
		for line := range bytes.Lines(s.adminGet("/metrics")) {
			if bytes.HasPrefix(line, []byte("caddy_relay_deliveries{")) && bytes.Contains(line, []byte(`state="open"`)) {
				return bytes.HasSuffix(bytes.TrimSpace(line), []byte(" 0"))
			}
		}
		return false
	})
}

// TestP6_WithoutOrderByTheJudgeSeesIt sends the same without order_by: a judge that finds nothing then proves nothing.
func TestP6_WithoutOrderByTheJudgeSeesIt(t *testing.T) {
	u := newUpstream(t)
	addr := freeAddress(t)
	p := newProvider(t, "http://"+addr+"/stripe")
	p.customers = 3
	s := newServer(t)
	unsteady(u, 2)
	s.run(s.caddyfile(orderSite(addr, u, 0, "order_by off")), addr)
	p.sendMany(500, 8)
	awaitDone(s)
	s.stop()
	j := judge(p.books(), u.all(), readStore(t, s.store), nil)
	if len(j.order) == 0 {
		t.Error("nothing is found to be out of order")
	}
}
