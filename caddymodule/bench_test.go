// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// benchServe has a relay serve one signed event after the other.
func benchServe(b *testing.B, h *Handler, next caddyhttp.Handler) {
	server := new(caddyhttp.Server)
	data := strings.Repeat("x", 1000)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		r := signed("/in", fmt.Sprintf(`{"id":"evt_%d","type":"invoice.paid","data":"%s"}`, n, data))
		w := httptest.NewRecorder()
		b.StartTimer()
		if err := h.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, server), next); err != nil || w.Code != 200 {
			b.Fatal(w.Code, err)
		}
	}
}

// BenchmarkAccept measures the way from a request to its answer, with a store in
// memory and what Caddy's server does for each request.
func BenchmarkAccept(b *testing.B) {
	r := start(b, memoryOptions+":0 {\n\trelay /in "+deadAddr(b)+" {\n\t\tverify stripe "+stripeSecret+"\n\t\tretry off\n\t}\n}\n")
	benchServe(b, r.relay["in"], nil)
}

// BenchmarkPass measures the way of a request through the relay to the next
// handler and back, with a store in memory.
func BenchmarkPass(b *testing.B) {
	r := start(b, memoryOptions+":0 {\n\trelay /in {\n\t\tverify stripe "+stripeSecret+"\n\t\tpass\n\t}\n}\n")
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusOK)
		return nil
	})
	benchServe(b, r.relay["in"], next)
}

// BenchmarkDeliverTo measures an attempt to an app on the loopback interface, both
// as a plain proxy makes it and through Caddy's own. What the app needs is in it.
func BenchmarkDeliverTo(b *testing.B) {
	app := newRawApp(b, nil)
	go func() {
		for range app.got {
		}
	}()
	b.Cleanup(func() { close(app.got) })
	p := pairOf(b, app.addr())
	a := attempt()
	a.Message.Request.Body = bytes.Repeat([]byte("x"), 1<<10)
	for name, f := range map[string]*forward{"direct": p.direct, "chain": p.chain} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if result := f.Deliver(b.Context(), a); result.Err != nil {
					b.Fatal(result.Err)
				}
			}
		})
	}
}

// BenchmarkDeliver measures an attempt whose forward answers at once.
func BenchmarkDeliver(b *testing.B) {
	r, err := provision(b, memoryOptions+":0 {\n\trelay /in {\n\t\tforward {\n\t\t\trespond 200\n\t\t}\n\t}\n}\n")
	if err != nil {
		b.Fatal(err)
	}
	f, a := r.relay["in"].destinations[0].forward, attempt()
	b.ReportAllocs()
	for b.Loop() {
		if result := f.Deliver(b.Context(), a); result.Err != nil {
			b.Fatal(result.Err)
		}
	}
}
