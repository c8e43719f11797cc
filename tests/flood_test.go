// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// answerPatience is how long a sender waits for an answer.
	answerPatience = 15 * time.Second

	// modestPause is how long a sender that does not flood stays away after a refusal.
	modestPause = 100 * time.Millisecond

	// strangers is which share of the connections are for one request only: one in so many.
	strangers = 16
)

// flood sends what arrives over many connections, one request at a time on each, as senders do. It writes and reads
// HTTP by hand, so that it is cheaper than what it floods.
type flood struct {
	addr  string
	mixed *mixture
}

// run sends what arrives at a rate for a span over a number of connections. With a rate of 0 each connection sends one
// request after the other, and stays away for a moment when one is refused.
func (f *flood) run(connections int, rate float64, span time.Duration) *floodResult {
	a := &arrivals{begun: time.Now(), span: span, rate: rate}
	results := make([]*floodResult, connections)
	var wg sync.WaitGroup
	for c := range connections {
		results[c] = newFloodResult()
		wg.Go(func() {
			conn := &floodConn{addr: f.addr, once: c%strangers == 0}
			defer conn.close()
			f.send(conn, a, results[c])
		})
	}
	wg.Wait()
	total := newFloodResult()
	for _, r := range results {
		total.add(r)
	}
	total.span, total.heldBack = span, a.givenUp()
	return total
}

// send sends what arrives over one connection.
func (f *flood) send(conn *floodConn, a *arrivals, result *floodResult) {
	w := f.mixed.writer()
	for {
		n, at, ok := a.take()
		if !ok {
			return
		}
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
		}
		w.render(n)
		begun := time.Now()
		status, patient, err := conn.roundTrip(w.request)
		took := time.Since(begun)
		first := f.mixed.settle(w, err == nil && status/100 == 2)
		result.of(w.kind).note(status, patient, err, took, first && time.Since(a.begun) <= a.span)
		if a.rate == 0 && status == http.StatusServiceUnavailable {
			time.Sleep(modestPause)
		}
	}
}

// floodConn is one connection, which is made when it is needed.
type floodConn struct {
	addr string
	once bool // for one request only
	conn *net.TCPConn
	in   *bufio.Reader
}

func (c *floodConn) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// roundTrip sends a request and reads its answer, and whether that says when to come back.
func (c *floodConn) roundTrip(request []byte) (status int, patient bool, err error) {
	if c.conn == nil {
		if err = c.dial(); err != nil {
			return 0, false, fmt.Errorf("connecting: %w", err)
		}
	}
	_ = c.conn.SetDeadline(time.Now().Add(answerPatience))
	if _, err = c.conn.Write(request); err == nil {
		status, patient, err = c.read()
	}
	if err != nil || c.once {
		c.close()
	}
	return status, patient, err
}

func (c *floodConn) dial() error {
	conn, err := net.DialTimeout("tcp", c.addr, answerPatience)
	if err != nil {
		return err
	}
	c.conn = conn.(*net.TCPConn)
	// A port of which the answer has been read may be used again at once.
	_ = c.conn.SetLinger(0)
	if c.in == nil {
		c.in = bufio.NewReaderSize(nil, 512)
	}
	c.in.Reset(c.conn)
	return nil
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
		case bytes.EqualFold(name, []byte("Content-Length")):
			length, _ = strconv.Atoi(string(value))
		case bytes.EqualFold(name, []byte("Retry-After")):
			patient = len(value) > 0
		case bytes.EqualFold(name, []byte("Connection")):
			last = string(value) == "close"
		}
	}
}
