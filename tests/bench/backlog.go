// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// seedBatch is how many events are signed at a time while seeding, so that no signature is older than the
// relay's tolerance when it is sent.
const seedBatch = 100_000

// backlogFigures is what restarting on a full store gave.
type backlogFigures struct {
	Messages        int     `json:"messages"`
	SeedPerSecond   float64 `json:"seed_per_second"`
	SeedMemory      float64 `json:"seed_peak_memory_mib"`
	Ready           float64 `json:"ready_seconds"`
	DrainPerSecond  float64 `json:"drain_per_second"`
	DrainCPUPer10k  float64 `json:"drain_cpu_seconds_per_10000"`
	ResidentMedian  float64 `json:"resident_median_mib"`
	ResidentPeak    float64 `json:"resident_peak_mib"`
	Duplicates      int64   `json:"duplicates"`
	MissingMessages int64   `json:"missing_messages"`
}

// runBacklog fills a relay whose upstream takes requests and never answers, kills it, starts it again with the
// upstream answering, and watches it drain. The upstream hangs, rather than refuses, while the store is
// filled: so next to nothing has been attempted, all of it is due at once after the restart, and the drain
// rate is the relay's and not its retry policy's.
func (s *suite) runBacklog(ctx context.Context) (f backlogFigures, err error) {
	dir, err := os.MkdirTemp(s.dir, "backlog-")
	if err != nil {
		return f, fmt.Errorf("making the server's directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	spec := serverSpec{s.binary, dir, caddyfile(kindEndToEnd, dir, s.upstream(kindEndToEnd), "timeout 1h"), s.cores}
	f.Messages = s.messages
	tag := s.nextTag()
	if err := s.seed(ctx, spec, tag, &f); err != nil {
		return f, fmt.Errorf("seeding: %w", err)
	}
	if err := s.sink.expect(tag, s.messages, s.bodySize, false); err != nil {
		return f, err
	}
	probe, err := newBatch(s.nextTag(), 0, 1, s.bodySize, time.Now())
	if err != nil {
		return f, err
	}
	begin := time.Now()
	server, err := startServer(ctx, spec)
	if err != nil {
		return f, err
	}
	defer server.stop()
	if err := server.ready(ctx, 2*time.Minute, func() bool { return accepts(server.addr, probe) }); err != nil {
		return f, err
	}
	f.Ready = time.Since(begin).Seconds()
	return f, s.drain(ctx, server, &f)
}

// accepts sends the first event of b over a fresh connection and reports whether it got its 2xx.
func accepts(addr string, b *batch) bool {
	load := newGenerator(addr, 1)
	defer load.close()
	one := load.sender(load.clients[0], 1)
	one.req.SetConnectionClose()
	one.client.ReadTimeout = time.Second
	one.post(b, 0, time.Now().UnixNano())
	return len(one.acks) == 1
}

func (s *suite) seed(ctx context.Context, spec serverSpec, tag string, f *backlogFigures) error {
	if err := s.sink.expect(tag, s.messages, s.bodySize, true); err != nil {
		return err
	}
	server, err := startServer(ctx, spec)
	if err != nil {
		return err
	}
	defer server.crash()
	if err := server.ready(ctx, 30*time.Second, server.listening); err != nil {
		return err
	}
	load := newGenerator(server.addr, s.connections)
	defer load.close()
	var spent time.Duration
	for first := 0; first < s.messages; first += seedBatch {
		b, err := newBatch(tag, first, min(seedBatch, s.messages-first), s.bodySize, time.Now())
		if err != nil {
			return err
		}
		result := load.closedLoop(ctx, b, 0)
		if err := errors.Join(ctx.Err(), result.err()); err != nil {
			return err
		}
		spent += time.Duration(result.end - result.start)
	}
	f.SeedPerSecond = perSecond(s.messages, spent)
	_, peak := server.memory()
	f.SeedMemory = mebibytes(peak)
	return nil
}

// drain watches the server until every message has arrived.
func (s *suite) drain(ctx context.Context, server *child, f *backlogFigures) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	samples := make(chan []int64, 1)
	go func() {
		var resident []int64
		for pause(watching, 100*time.Millisecond) {
			now, _ := server.memory()
			resident = append(resident, now)
		}
		samples <- resident
	}()
	count, late := s.sink.await(ctx, s.messages, s.patience)
	stop()
	resident := <-samples
	if err := ctx.Err(); err != nil {
		return err
	}
	_, peak := server.memory()
	f.ResidentMedian = mebibytes(percentile(resident, 50))
	f.ResidentPeak = mebibytes(peak)
	f.DrainCPUPer10k = server.cpuTime().Seconds() / float64(max(count.Distinct, 1)) * 10_000
	f.Duplicates = count.Duplicates
	f.MissingMessages = int64(s.messages) - count.Distinct
	times, err := s.sink.arrivals()
	if err != nil {
		return err
	}
	arrived := slices.DeleteFunc(times, func(at int64) bool { return at == 0 })
	if len(arrived) > 0 {
		f.DrainPerSecond = perSecond(len(arrived), time.Duration(slices.Max(arrived)-slices.Min(arrived)))
	}
	if late != nil {
		return fmt.Errorf("draining: %w; the server's log ends with:\n%s", late, server.logTail())
	}
	return nil
}
