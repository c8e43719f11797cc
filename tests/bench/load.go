// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// generator sends batches over a fixed number of connections that it keeps open from one batch to the next.
type generator struct {
	url     string
	clients []*fasthttp.HostClient
}

// newGenerator returns a generator of conns connections that posts to http://addr.
func newGenerator(addr string, conns int) *generator {
	g := &generator{url: "http://" + addr + eventPath}
	for range conns {
		g.clients = append(g.clients, &fasthttp.HostClient{
			Addr:                      addr,
			MaxConns:                  1,
			MaxIdleConnDuration:       time.Hour,
			ReadTimeout:               time.Minute,
			WriteTimeout:              time.Minute,
			MaxIdemponentCallAttempts: 1,
			NoDefaultUserAgentHeader:  true,
		})
	}
	return g
}

// close closes the connections.
func (g *generator) close() {
	for _, client := range g.clients {
		client.CloseIdleConnections()
	}
}

// loadResult is what the senders of one batch saw. Times are nanoseconds since 1970.
type loadResult struct {
	start, end int64
	sent       []int64 // per event; 0 where it was not sent
	acks       []int64 // time to the 2xx, one per event that got it
	refused    map[int]int
	failure    error // the first transport error
	failures   int
}

// acked returns the number of events that were answered with 2xx.
func (r *loadResult) acked() int { return len(r.acks) }

// err describes everything that was not answered with 2xx, or is nil.
func (r *loadResult) err() error {
	if r.failures == 0 && len(r.refused) == 0 {
		return nil
	}
	return fmt.Errorf("not acknowledged: by status %v, by transport error %d (first: %v)", r.refused, r.failures, r.failure)
}

// sender is one connection with its buffers and its share of the result.
type sender struct {
	client  *fasthttp.HostClient
	req     *fasthttp.Request
	resp    *fasthttp.Response
	body    []byte
	header  []byte
	acks    []int64
	refused map[int]int
	failure error
	failed  int
}

func (g *generator) sender(client *fasthttp.HostClient, events int) *sender {
	s := &sender{
		client:  client,
		req:     &fasthttp.Request{},
		resp:    &fasthttp.Response{},
		acks:    make([]int64, 0, events),
		refused: map[int]int{},
	}
	s.req.Header.SetMethod(fasthttp.MethodPost)
	s.req.Header.SetContentType("application/json")
	s.req.SetRequestURI(g.url)
	return s
}

// post sends one event; begin is when its clock started.
func (s *sender) post(b *batch, seq int, begin int64) {
	s.body = b.appendBody(s.body[:0], seq)
	s.req.SetBodyRaw(s.body)
	s.header = b.appendHeader(s.header[:0], seq)
	s.req.Header.SetBytesV(signatureHeader, s.header)
	err := s.client.Do(s.req, s.resp)
	if err != nil {
		s.failed++
		if s.failure == nil {
			s.failure = err
		}
		return
	}
	if code := s.resp.StatusCode(); code/100 != 2 {
		s.refused[code]++
		return
	}
	s.acks = append(s.acks, time.Now().UnixNano()-begin)
}

// closedLoop sends the whole batch as fast as the answers come back: each connection sends its next event
// when the last one was answered. It stops early when ctx ends or limit, where positive, has passed.
func (g *generator) closedLoop(ctx context.Context, b *batch, limit time.Duration) *loadResult {
	var next atomic.Int64
	var deadline int64
	result := &loadResult{start: time.Now().UnixNano(), sent: make([]int64, b.len())}
	if limit > 0 {
		deadline = result.start + limit.Nanoseconds()
	}
	senders := make([]*sender, len(g.clients))
	var wg sync.WaitGroup
	for i, client := range g.clients {
		s := g.sender(client, b.len()/len(g.clients)+1)
		senders[i] = s
		wg.Go(func() {
			for ctx.Err() == nil {
				seq := int(next.Add(1)) - 1
				begin := time.Now().UnixNano()
				if seq >= b.len() || (deadline > 0 && begin > deadline) {
					return
				}
				result.sent[seq] = begin
				s.post(b, seq, begin)
			}
		})
	}
	wg.Wait()
	result.merge(senders)
	return result
}

// openLoop sends the batch at a fixed rate, whatever the server does. An event's clock starts when it is due
// and released, so that waiting for a free connection counts.
func (g *generator) openLoop(ctx context.Context, b *batch, rate int) *loadResult {
	result := &loadResult{start: time.Now().UnixNano(), sent: make([]int64, b.len())}
	due := make(chan int, b.len())
	senders := make([]*sender, len(g.clients))
	var wg sync.WaitGroup
	for i, client := range g.clients {
		s := g.sender(client, b.len()/len(g.clients)+1)
		senders[i] = s
		wg.Go(func() {
			for seq := range due {
				s.post(b, seq, result.sent[seq])
			}
		})
	}
	interval := time.Second / time.Duration(rate)
	start := time.Now()
	for seq := range b.len() {
		wait := time.Until(start.Add(time.Duration(seq) * interval))
		if !pause(ctx, wait) {
			break
		}
		result.sent[seq] = time.Now().UnixNano()
		due <- seq
	}
	close(due)
	wg.Wait()
	result.merge(senders)
	return result
}

func (r *loadResult) merge(senders []*sender) {
	r.end = time.Now().UnixNano()
	r.refused = map[int]int{}
	for _, s := range senders {
		r.acks = append(r.acks, s.acks...)
		r.failures += s.failed
		if r.failure == nil {
			r.failure = s.failure
		}
		for code, n := range s.refused {
			r.refused[code] += n
		}
	}
}

// pause waits for d and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
