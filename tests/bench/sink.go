// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// sink is the upstream: it answers 200 and notes when each event of the current phase first arrived.
type sink struct {
	phase atomic.Pointer[phase]
}

// phase is what the sink expects now.
type phase struct {
	tag        string
	size       int
	arrivals   []atomic.Int64
	distinct   atomic.Int64
	duplicates atomic.Int64
	strangers  atomic.Int64
	hold       chan struct{} // while open, events wait for an answer and are not counted
	release    func()
}

// sinkCount is how far a phase has come. Strangers are requests that are no event of this phase, or not of its size.
type sinkCount struct {
	Distinct   int64 `json:"distinct"`
	Duplicates int64 `json:"duplicates"`
	Strangers  int64 `json:"strangers"`
}

func newPhase(tag string, n, size int, hold bool) *phase {
	p := &phase{tag: tag, size: size, arrivals: make([]atomic.Int64, n), hold: make(chan struct{})}
	p.release = sync.OnceFunc(func() { close(p.hold) })
	if !hold {
		p.release()
	}
	return p
}

func newSink() *sink {
	s := &sink{}
	s.phase.Store(newPhase("", 0, 0, false))
	return s
}

func (s *sink) handle(ctx *fasthttp.RequestCtx) {
	path := ctx.Path()
	if bytes.HasPrefix(path, []byte("/control/")) {
		s.control(ctx, string(path[len("/control/"):]))
		return
	}
	s.phase.Load().arrive(ctx.PostBody())
}

func (p *phase) arrive(body []byte) {
	select {
	case <-p.hold:
	default:
		<-p.hold
		return
	}
	now := time.Now().UnixNano()
	seq, ok := parseID(body, p.tag)
	switch {
	case !ok || seq >= len(p.arrivals) || len(body) != p.size:
		p.strangers.Add(1)
	case p.arrivals[seq].CompareAndSwap(0, now):
		p.distinct.Add(1)
	default:
		p.duplicates.Add(1)
	}
}

func (s *sink) control(ctx *fasthttp.RequestCtx, verb string) {
	p := s.phase.Load()
	switch verb {
	case "phase":
		args := ctx.QueryArgs()
		p.release()
		s.phase.Store(newPhase(string(args.Peek("tag")), args.GetUintOrZero("n"), args.GetUintOrZero("size"), args.GetBool("hold")))
	case "count":
		_ = json.NewEncoder(ctx).Encode(sinkCount{p.distinct.Load(), p.duplicates.Load(), p.strangers.Load()})
	case "arrivals":
		out := make([]byte, 0, 8*len(p.arrivals))
		for i := range p.arrivals {
			out = binary.LittleEndian.AppendUint64(out, uint64(p.arrivals[i].Load()))
		}
		ctx.SetBody(out)
	default:
		ctx.SetStatusCode(fasthttp.StatusNotFound)
	}
}

// serveSink is the sink's process: it prints its address and serves until its standard input ends, which
// it does when the benchmark ends, however it ends.
func serveSink(procs int) error {
	runtime.GOMAXPROCS(procs)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening the sink's listener: %w", err)
	}
	s := newSink()
	server := &fasthttp.Server{Handler: s.handle, NoDefaultServerHeader: true, NoDefaultDate: true, Concurrency: 1 << 16}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	fmt.Println(listener.Addr())
	select {
	case err := <-failed:
		return fmt.Errorf("serving as sink: %w", err)
	case <-ended:
		return nil
	}
}

// sinkClient controls a sink from the benchmark's side.
type sinkClient struct{ addr string }

func (c sinkClient) get(path string) ([]byte, error) {
	status, body, err := fasthttp.GetTimeout(nil, "http://"+c.addr+"/control/"+path, time.Minute)
	if err != nil {
		return nil, fmt.Errorf("asking the sink for %s: %w", path, err)
	}
	if status != fasthttp.StatusOK {
		return nil, fmt.Errorf("asking the sink for %s: status %d", path, status)
	}
	return body, nil
}

// expect starts a phase of n events of size bytes. With hold the sink leaves every event unanswered until
// the next phase starts.
func (c sinkClient) expect(tag string, n, size int, hold bool) error {
	_, err := c.get("phase?tag=" + tag + "&n=" + strconv.Itoa(n) + "&size=" + strconv.Itoa(size) + "&hold=" + strconv.FormatBool(hold))
	return err
}

// count returns how many events have arrived.
func (c sinkClient) count() (sinkCount, error) {
	var count sinkCount
	body, err := c.get("count")
	if err != nil {
		return count, err
	}
	if err := json.Unmarshal(body, &count); err != nil {
		return count, fmt.Errorf("reading the sink's count: %w", err)
	}
	return count, nil
}

// arrivals returns when each event arrived, in nanoseconds since 1970, and 0 for those that have not.
func (c sinkClient) arrivals() ([]int64, error) {
	body, err := c.get("arrivals")
	if err != nil {
		return nil, err
	}
	times := make([]int64, len(body)/8)
	for i := range times {
		times[i] = int64(binary.LittleEndian.Uint64(body[8*i:]))
	}
	return times, nil
}

// await returns when n distinct events have arrived, and fails when none arrives for the length of patience.
func (c sinkClient) await(ctx context.Context, n int, patience time.Duration) (sinkCount, error) {
	last, since := int64(-1), time.Now()
	for {
		count, err := c.count()
		if err != nil || count.Distinct >= int64(n) {
			return count, err
		}
		if count.Distinct != last {
			last, since = count.Distinct, time.Now()
		}
		if time.Since(since) > patience {
			return count, fmt.Errorf("%d of %d events have arrived and none for %s", count.Distinct, n, patience)
		}
		if !pause(ctx, 10*time.Millisecond) {
			return count, ctx.Err()
		}
	}
}
