// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// ailing is an app with a health check, that is down until it is healed.
type ailing struct {
	*httptest.Server
	healed atomic.Bool
	checks chan struct{} // one for each failed check, as far as there is room
	got    chan string   // the bodies that it took
	failed atomic.Int32  // attempts that it refused
}

func newAiling(t *testing.T) *ailing {
	a := &ailing{checks: make(chan struct{}, 1000), got: make(chan string, 100)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		check := r.URL.Path == "/health"
		switch {
		case a.healed.Load() && !check:
			a.got <- r.Header.Get("Relay-Id")
		case !a.healed.Load():
			w.WriteHeader(http.StatusInternalServerError)
			if !check {
				a.failed.Add(1)
				return
			}
			select {
			case a.checks <- struct{}{}:
			default:
			}
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *ailing) addr() string { return strings.TrimPrefix(a.URL, "http://") }

// TestP8_AHealthCheckOfCaddySendsAllOnThatWaits runs Caddy's own active health
// checks. What waits would be tried again after a day.
func TestP8_AHealthCheckOfCaddySendsAllOnThatWaits(t *testing.T) {
	checked, other := newAiling(t), newAiling(t)
	const proxy = "\t\t\tforward {\n\t\t\t\thandle {\n\t\t\t\t\treverse_proxy %s {\n\t\t\t\t\t\thealth_uri /health\n\t\t\t\t\t\thealth_interval 10ms\n\t\t\t\t\t}\n\t\t\t\t}\n\t\t\t}\n"
	r := start(t, memoryOptions+":0 {\n\trelay /in {\n\t\tretry fixed 1d\n"+
		"\t\tdestination checked {\n"+fmt.Sprintf(proxy, checked.addr())+"\t\t}\n"+
		"\t\tdestination other {\n"+fmt.Sprintf(proxy, other.addr())+"\t\t}\n\t}\n}\n")
	for range 3 {
		<-checked.checks
		<-other.checks
	}
	// Too few to find the destination down, so that no probe helps.
	for i := range 2 {
		if w := serve(t, r.relay["in"], post("/in", fmt.Sprint(i))); w.Code != http.StatusOK {
			t.Fatalf("answered %d", w.Code)
		}
	}
	waiting := func(destination string) int {
		st, err := r.app.engine.Store()
		if err != nil {
			t.Fatal(err)
		}
		list, err := st.ListDeliveries(t.Context(), store.DeliveryQuery{Destination: destination, State: store.Waiting, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	eventually(t, "all attempts have failed", func() bool { return waiting("in:checked") == 2 && waiting("in:other") == 2 })
	checked.healed.Store(true)
	<-checked.got
	<-checked.got
	if n := waiting("in:other"); n != 2 || len(other.got) > 0 {
		t.Errorf("%d deliveries wait for the app that is still down", n)
	}
}

// TestAHealthCheckThatIsNotSwitchedOnIsNotFollowed has options of one, and not what
// is to be asked for: Caddy makes none of it, and gives it no interval.
func TestAHealthCheckThatIsNotSwitchedOnIsNotFollowed(t *testing.T) {
	for _, options := range []string{"health_timeout 5s", "health_headers {\nX-Check 1\n}", "health_interval 1ns", "health_uri /health\nhealth_interval -1s"} {
		r := start(t, memoryOptions+":0 {\n\trelay /in {\n\t\tforward {\n\t\t\treverse_proxy 127.0.0.1:9 {\n"+options+"\n\t\t\t}\n\t\t}\n\t}\n}\n")
		w := watchHealth(r.app.engine, r.relay["in"].destinations)
		w.stop()
		if w.gap != healthGap || len(w.upstreams) > 0 && !strings.Contains(options, "health_uri") {
			t.Errorf("%s: %d upstreams are looked at every %s", options, len(w.upstreams), w.gap)
		}
	}
}
