// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// benchAhead is how many requests are made while the timer stands, which costs
// more each time than a request.
const benchAhead = 1000

// benchServe has a relay serve one signed event after the other.
func benchServe(b *testing.B, h *Handler, next caddyhttp.Handler) {
	server := new(caddyhttp.Server)
	data := strings.Repeat("x", 1000)
	requests, answers := make([]*http.Request, benchAhead), make([]*httptest.ResponseRecorder, benchAhead)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		i := n % benchAhead
		if i == 0 {
			b.StopTimer()
			for i := range benchAhead {
				r := signed("/in", fmt.Sprintf(`{"id":"evt_%d","type":"invoice.paid","data":"%s"}`, n+i, data))
				answers[i] = httptest.NewRecorder()
				requests[i] = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), answers[i], server)
			}
			b.StartTimer()
		}
		n++
		if err := h.ServeHTTP(answers[i], requests[i], next); err != nil || answers[i].Code != 200 {
			b.Fatal(answers[i].Code, err)
		}
	}
}

// BenchmarkAccept measures the way from a request to its answer, with a store in
// memory.
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

// benchApp is an app on the loopback interface that allocates nothing, so that
// what is measured is the attempt. It tells what ends a request by its last byte.
func benchApp(b *testing.B) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in, answer := make([]byte, 64<<10), []byte(ok)
				for {
					n, err := conn.Read(in)
					if err != nil {
						return
					}
					if in[n-1] != '}' {
						continue
					}
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// BenchmarkDeliverTo measures an attempt to an app, as a plain proxy makes it and
// through Caddy's own.
func BenchmarkDeliverTo(b *testing.B) {
	p := pairOf(b, benchApp(b))
	a := attempt()
	a.Message.Request.Body = []byte(`{"id":"` + strings.Repeat("x", 1<<10) + `"}`)
	for name, f := range map[string]*forward{"direct": p.direct, "chain": p.chain} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
				if result := f.Deliver(ctx, a); result.Err != nil {
					b.Fatal(result.Err)
				}
				cancel()
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
