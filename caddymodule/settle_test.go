// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"
	"testing"
	"time"
)

// Caddy closes the connections of a proxy that a reload replaces, by which Go may
// lose an answer that is just coming (TestP12_ReloadUnderLoad: a delivery that the
// app had answered with 200 was sent once more).
func TestP12_ShortAttemptEndsBeforeItsProxyIsCleanedUp(t *testing.T) {
	r, release := attempting(t)
	time.AfterFunc(settleTime/20, func() { close(release) })
	if err := r.app.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := under(r.app); n != 0 {
		t.Errorf("%d attempts were still under way", n)
	}
	r.app.generation = nil // it is stopped
}

// attempting returns an app with one attempt under way through Caddy's proxy, which
// is answered once release is closed.
func attempting(t *testing.T) (r *running, release chan struct{}) {
	begun := make(chan struct{})
	release = make(chan struct{})
	h, r := relayOf(t, newUpstream(t, func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-release
	}))
	h.destinations[0].forward.direct = nil
	if w := serve(t, h, signed("/in", `{"id":"evt_1"}`)); w.Code != http.StatusOK {
		t.Fatalf("answered %d", w.Code)
	}
	<-begun
	return r, release
}

// under returns how many attempts of a configuration are under way.
func under(a *App) (n int64) {
	for _, d := range a.destinations() {
		n += d.forward.running.n.Load()
	}
	return n
}

func TestALongAttemptDoesNotHoldUpAReload(t *testing.T) {
	r, release := attempting(t)
	if err := r.app.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := under(r.app); n != 1 {
		t.Errorf("%d attempts are under way", n)
	}
	close(release)
	r.app.generation = nil // it is stopped
}

// TestATallyIsWaitedFor has what is counted end while it is begun to be waited for.
func TestATallyIsWaitedFor(t *testing.T) {
	var c tally
	<-c.none()
	for range 1000 {
		c.Add(1)
		begun := make(chan struct{})
		go func() {
			<-begun
			c.Add(-1)
		}()
		close(begun)
		<-c.none()
		if n := c.n.Load(); n != 0 {
			t.Fatalf("%d are under way", n)
		}
	}
	c.Add(2)
	none := c.none()
	c.Add(-1)
	select {
	case <-none:
		t.Fatal("one is still under way")
	default:
	}
	c.Add(-1)
	<-none
}
