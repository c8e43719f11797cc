// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// flood sends events over many connections at a rate that does not care about the answers, as many senders at once
// do. It writes and reads HTTP by hand, so that it is cheaper than what it floods.
type flood struct {
	t    testing.TB
	addr string

	mu     sync.Mutex
	counts map[string]*floodCount
}

// floodCount is what became of the requests of one kind.
type floodCount struct {
	statuses   map[int]int
	failures   int
	hasty      int // 503 without Retry-After
	latencies  []time.Duration
	lastErr    error
	firstBegun time.Time
}

// accepted returns how many requests got a 2xx.
func (c *floodCount) accepted() int { return c.statuses[200] + c.statuses[202] }

// refused returns the share of the requests that got a 503.
func (c *floodCount) refused() float64 {
	total := c.failures
	for _, n := range c.statuses {
		total += n
	}
	return float64(c.statuses[503]) / float64(max(total, 1))
}

// percentile returns the latency that so many of the accepted requests had at most.
func (c *floodCount) percentile(p float64) time.Duration {
	if len(c.latencies) == 0 {
		return 0
	}
	slices.Sort(c.latencies)
	return c.latencies[int(p*float64(len(c.latencies)-1))]
}

// request is one request to be sent.
type request struct {
	kind string
	head string
	ev   event
	p    *provider
}

// run sends what next makes up over a number of connections, each of them at its times so that all together have that
// rate, 0 for one after the other.
func (f *flood) run(connections int, rate float64, span time.Duration, next func(n int) request) map[string]*floodCount {
	f.counts = make(map[string]*floodCount)
	var wg sync.WaitGroup
	begun := time.Now()
	gap := time.Duration(0)
	if rate > 0 {
		gap = time.Duration(float64(connections) / rate * float64(time.Second))
	}
	for c := range connections {
		wg.Go(func() {
			conn := &floodConn{addr: f.addr}
			defer conn.close()
			at := begun.Add(gap * time.Duration(c) / time.Duration(connections))
			for n := c; time.Since(begun) < span; n += connections {
				if gap > 0 {
					time.Sleep(time.Until(at))
					// A connection that is behind does not make up for it: its senders would have used others.
					if at = at.Add(gap); time.Since(at) > gap {
						at = time.Now()
					}
				}
				f.send(conn, next(n))
			}
		})
	}
	wg.Wait()
	return f.counts
}

// send sends one request and notes what became of it.
func (f *flood) send(conn *floodConn, r request) {
	begun := time.Now()
	status, patient, err := conn.roundTrip(r.head, r.ev.body)
	took := time.Since(begun)
	if err == nil && status/100 == 2 {
		r.p.acknowledge(r.ev)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.counts[r.kind]
	if c == nil {
		c = &floodCount{statuses: make(map[int]int), firstBegun: begun}
		f.counts[r.kind] = c
	}
	switch {
	case err != nil:
		c.failures++
		c.lastErr = err
		return
	case status/100 == 2:
		c.latencies = append(c.latencies, took)
	case status == 503 && !patient:
		c.hasty++
	}
	c.statuses[status]++
}

// floodConn is one connection, which is made when it is needed.
type floodConn struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

func (c *floodConn) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// roundTrip sends a request and reads its answer, and whether that asks for patience.
func (c *floodConn) roundTrip(head string, body []byte) (status int, patient bool, err error) {
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", c.addr, 10*time.Second); err != nil {
			c.conn = nil
			return 0, false, fmt.Errorf("connecting: %w", err)
		}
		c.in = bufio.NewReaderSize(c.conn, 1024)
	}
	_ = c.conn.SetDeadline(time.Now().Add(10 * time.Second))
	c.out = append(append(c.out[:0], head...), body...)
	if _, err = c.conn.Write(c.out); err == nil {
		status, patient, err = c.read()
	}
	if err != nil {
		c.close()
	}
	return status, patient, err
}

// read reads one answer.
func (c *floodConn) read() (status int, patient bool, err error) {
	length, last := 0, false
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, false, fmt.Errorf("reading the answer: %w", err)
		}
		line = bytes.TrimSpace(line)
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case first && len(line) > 12:
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, false, err
			}
		case first:
			return 0, false, errors.New("no status")
		case len(line) == 0:
			if _, err := c.in.Discard(length); err != nil && !errors.Is(err, io.EOF) {
				return 0, false, err
			}
			if last {
				c.close()
			}
			return status, patient, nil
		case strings.EqualFold(string(name), "Content-Length"):
			length, _ = strconv.Atoi(string(value))
		case strings.EqualFold(string(name), "Retry-After"):
			patient = len(value) > 0
		case strings.EqualFold(string(name), "Connection"):
			last = string(value) == "close"
		}
	}
}

// stripeRequest is a signed request of Stripe's.
func stripeRequest(p *provider, ev event) request {
	return request{kind: "stripe", p: p, ev: ev, head: "POST /stripe HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/json\r\n" +
		"Stripe-Signature: " + stripeSignature(secretA, ev.body, time.Now()) + "\r\nContent-Length: " + strconv.Itoa(len(ev.body)) + "\r\n\r\n"}
}

// githubRequest is a signed request of GitHub's, which never sends again by itself.
func githubRequest(p *provider, ev event) request {
	mac := hmac.New(sha256.New, []byte(secretA))
	mac.Write(ev.body)
	return request{kind: "github", p: p, ev: ev, head: "POST /github HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/json\r\n" +
		"X-GitHub-Event: push\r\nX-GitHub-Hook-ID: 1\r\nX-GitHub-Delivery: " + ev.id + "\r\n" +
		"X-Hub-Signature-256: sha256=" + hex.EncodeToString(mac.Sum(nil)) + "\r\nContent-Length: " + strconv.Itoa(len(ev.body)) + "\r\n\r\n"}
}
