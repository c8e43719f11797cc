// SPDX-License-Identifier: Apache-2.0

package pebble_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
	"github.com/caddy-relay/caddy-relay/relay/store/storetest"
)

func Benchmark(b *testing.B) {
	storetest.Bench(b, func(tb testing.TB, now func() time.Time) storetest.Backend {
		return backend(tb, tb.TempDir(), pebble.Options{Now: now})
	})
}

// BenchmarkAcceptUnbatched measures producers that each commit by themselves, so
// that only Pebble groups their syncs.
func BenchmarkAcceptUnbatched(b *testing.B) {
	for _, producers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) {
			s := open(b, b.TempDir(), pebble.Options{})
			defer s.Close()
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range producers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						if _, err := accept(s, sized(int(i))); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// sized returns a message of about 1 KiB with a dozen headers.
func sized(n int) store.Acceptance {
	a := message(n)
	m := a.Message
	m.Type, m.EventID = "order.paid", fmt.Sprint("evt_", n)
	m.Request.Body = append(make([]byte, 0, 1024), m.Request.Body...)
	for len(m.Request.Body) < 1024 {
		m.Request.Body = fmt.Appendf(m.Request.Body, "%x", n*len(m.Request.Body)*7919)
	}
	m.Request.Header = make(map[string][]string, 12)
	for i := range 12 {
		m.Request.Header[fmt.Sprint("X-Header-", i)] = []string{"a value of the usual length"}
	}
	return a
}
