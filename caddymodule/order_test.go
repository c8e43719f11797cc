// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// keysOf returns the order keys by destination that a message with a body gets.
func keysOf(h *Handler, body string) map[string]string {
	targets, _ := h.targets("")
	h.order(targets, &scheme.Request{Header: http.Header{"X-Shop": {"north"}}, Body: []byte(body)}, scheme.Verdict{})
	keys := make(map[string]string)
	for _, t := range targets {
		keys[strings.TrimPrefix(t.Destination, "in:")] = t.OrderKey
	}
	return keys
}

func TestOrderByGivesEachDestinationItsKey(t *testing.T) {
	r := start(t, `{
	relay {
		store memory
	}
}
:0 {
	relay /in {
		order_by {http.request.header.X-Shop}/{http.relay.body.customer}
		destination inherited {
			forward localhost:1
		}
		destination own {
			order_by {http.relay.body.invoice} {
				on_dead hold
			}
			forward localhost:1
		}
		destination none {
			order_by off
			forward localhost:1
		}
	}
}
`)
	h := r.relay["in"]
	counter := metrics.unordered.WithLabelValues("in")
	long := strings.Repeat("x", store.MaxOrderKey+1)
	hashed := keysOf(h, `{"customer":"c","invoice":"`+long+`"}`)["own"]
	if len(hashed) > store.MaxOrderKey || hashed == keysOf(h, `{"customer":"c","invoice":"`+long+`y"}`)["own"] {
		t.Errorf("long keys become %q", hashed)
	}
	for _, c := range []struct {
		body           string
		inherited, own string
		unordered      float64
	}{
		{`{"customer":"c","invoice":7}`, "north/c", "7", 0},
		{`{"customer":"c"}`, "north/c", "", 1},
		{`{"customer":null,"invoice":null}`, "", "", 1},
		{`{"customer":"c","invoice":""}`, "north/c", "", 1},
		{`no JSON`, "", "", 1},
	} {
		before := counted(counter)
		keys := keysOf(h, c.body)
		if keys["inherited"] != c.inherited || keys["own"] != c.own || keys["none"] != "" || len(keys) != 3 {
			t.Errorf("%s: keys are %q", c.body, keys)
		}
		if n := counted(counter) - before; n != c.unordered {
			t.Errorf("%s: counted %g times as unordered, want %g", c.body, n, c.unordered)
		}
	}
	for i, hold := range []bool{false, true, false} {
		var d relay.Destination
		if d = h.destinations[i].engine(); d.Hold != hold {
			t.Errorf("%s holds its lanes: %v", d.ID, d.Hold)
		}
	}
}

func TestP6_AMessageOfAKeyWaitsForTheOneBeforeIt(t *testing.T) {
	gate := make(chan struct{})
	app := newUpstream(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Relay-Event-Id") == "evt_1" {
			<-gate
		}
	})
	h, _ := relayOf(t, app, "order_by {http.relay.body.customer}")
	for _, body := range []string{
		`{"id":"evt_1","customer":"a"}`, `{"id":"evt_2","customer":"a"}`, `{"id":"evt_3","customer":"b"}`, `{"id":"evt_4"}`,
	} {
		if w := serve(t, h, signed("/in", body)); w.Code != http.StatusOK {
			t.Fatalf("%s got %d", body, w.Code)
		}
	}
	first := map[string]bool{}
	for range 3 {
		first[(<-app.got).request.Header.Get("Relay-Event-Id")] = true
	}
	if !first["evt_1"] || !first["evt_3"] || !first["evt_4"] {
		t.Errorf("delivered while the first one is under way: %v", first)
	}
	close(gate)
	if id := (<-app.got).request.Header.Get("Relay-Event-Id"); id != "evt_2" {
		t.Errorf("delivered %s after that", id)
	}
}
