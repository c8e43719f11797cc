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

const (
	// fullUse is the share of its cores that a server must have used for its rate to say something about it.
	fullUse = 0.9

	// settle is how long work that a server put off still counts to its processor time.
	settle = 500 * time.Millisecond

	// warmUpEvents bounds the events of a warm-up.
	warmUpEvents = 200_000

	// downAddress refuses connections; see checkDown.
	downAddress = "127.0.0.1:9"
)

// suite is what all scenarios of one run of the benchmark share.
type suite struct {
	options
	cores  cores
	binary string
	dir    string
	tags   uint32

	sink        sinkClient
	sinkProcess *child
}

// figures is what one closed-loop run of one kind of server gave.
type figures struct {
	Events          int     `json:"events"`
	EventsPerSecond float64 `json:"events_per_second"`
	AcksPerSecond   float64 `json:"acks_per_second"`
	AckP50          float64 `json:"ack_p50_ms"`
	AckP99          float64 `json:"ack_p99_ms"`
	CPUPer10k       float64 `json:"cpu_seconds_per_10000"`
	CoreShare       float64 `json:"core_share"`
	GeneratorShare  float64 `json:"generator_core_share"`
	SinkShare       float64 `json:"sink_core_share"`
	OthersShare     float64 `json:"others_core_share"` // of all cores, where pinned
	PeakMemory      float64 `json:"peak_memory_mib"`
	Void            string  `json:"void,omitempty"` // why the rate counts for nothing
}

// latencies is what one open-loop run gave.
type latencies struct {
	Events     int     `json:"events"`
	Rate       float64 `json:"events_per_second"`
	AckP50     float64 `json:"ack_p50_ms"`
	AckP99     float64 `json:"ack_p99_ms"`
	ArrivalP50 float64 `json:"arrival_p50_ms"`
	ArrivalP99 float64 `json:"arrival_p99_ms"`

	OthersShare float64 `json:"others_core_share"` // of all cores, where pinned
	Void        string  `json:"void,omitempty"`
}

func (s *suite) nextTag() string {
	s.tags++
	return fmt.Sprintf("%0*x", tagLen, s.tags)
}

func (s *suite) upstream(k kind) upstreamConfig {
	u := upstreamConfig{addr: s.sink.addr, defaults: s.defaults, idle: s.idleConns}
	if k == kindAccept {
		u.addr = downAddress
	}
	return u
}

// serve starts a fresh server of this kind, hands it to measure, and removes it and its store.
func (s *suite) serve(ctx context.Context, k kind, measure func(*child) error) (err error) {
	dir, err := os.MkdirTemp(s.dir, string(k)+"-")
	if err != nil {
		return fmt.Errorf("making the server's directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := startServer(ctx, serverSpec{s.binary, dir, caddyfile(k, dir, s.upstream(k)), s.cores})
	if err != nil {
		return err
	}
	defer server.stop()
	if err := server.ready(ctx, 30*time.Second, server.listening); err != nil {
		return err
	}
	if err := measure(server); err != nil {
		return fmt.Errorf("%w\nthe server's log ends with:\n%s", err, server.logTail())
	}
	return nil
}

// throughput runs one closed loop.
func (s *suite) throughput(ctx context.Context, k kind) (f figures, err error) {
	err = s.serve(ctx, k, func(server *child) error {
		load := newGenerator(server.addr, s.connections)
		defer load.close()
		events, err := s.warmUp(ctx, k, load)
		if err != nil {
			return fmt.Errorf("warming up %s: %w", k, err)
		}
		b, err := s.expect(events)
		if err != nil {
			return err
		}
		f, err = s.closedLoop(ctx, k, server, load, b)
		return err
	})
	return f, err
}

// expect makes a batch and announces it to the sink.
func (s *suite) expect(events int) (*batch, error) {
	b, err := newBatch(s.nextTag(), 0, events, s.bodySize, time.Now())
	if err != nil {
		return nil, err
	}
	return b, s.sink.expect(b.tag, events, s.bodySize, false)
}

// warmUp opens the connections and returns how many events the measured run needs to last its duration.
func (s *suite) warmUp(ctx context.Context, k kind, load *generator) (events int, err error) {
	b, err := s.expect(warmUpEvents)
	if err != nil {
		return 0, err
	}
	result := load.closedLoop(ctx, b, s.warmup)
	if err := result.err(); err != nil {
		return 0, err
	}
	end := result.end
	if k.delivers() {
		if _, err := s.sink.await(ctx, result.acked(), s.patience); err != nil {
			return 0, err
		}
		end = time.Now().UnixNano()
	}
	if s.events > 0 {
		return s.events, nil
	}
	rate := perSecond(result.acked(), time.Duration(end-result.start))
	return max(int(rate*s.duration.Seconds()), 1000), nil
}

func (s *suite) closedLoop(ctx context.Context, k kind, server *child, load *generator, b *batch) (figures, error) {
	before := s.usage(server)
	result := load.closedLoop(ctx, b, 0)
	if err := ctx.Err(); err != nil {
		return figures{}, err
	}
	problem := result.err()
	end := result.end
	if k.delivers() {
		_, err := s.sink.await(ctx, result.acked(), s.patience)
		problem = errors.Join(problem, err)
	}
	used, wall := s.usage(server).since(before), time.Duration(time.Now().UnixNano()-result.start)
	cpu := used.server
	if k.delivers() {
		times, err := s.sink.arrivals()
		if err != nil {
			return figures{}, err
		}
		end = slices.Max(times)
		if pause(ctx, settle) {
			cpu = s.usage(server).since(before).server
		}
	}
	_, peak := server.memory()
	events := result.acked()
	f := figures{
		Events:          events,
		EventsPerSecond: perSecond(events, time.Duration(end-result.start)),
		AcksPerSecond:   perSecond(events, time.Duration(result.end-result.start)),
		AckP50:          millis(percentile(result.acks, 50)),
		AckP99:          millis(percentile(result.acks, 99)),
		CPUPer10k:       cpu.Seconds() / float64(max(events, 1)) * 10_000,
		CoreShare:       coreShare(used.server, wall, s.cores.ServerCount),
		GeneratorShare:  coreShare(used.generator, wall, s.cores.generatorCount(k.delivers())),
		SinkShare:       coreShare(used.sink, wall, s.cores.SinkCount),
		OthersShare:     coreShare(used.others(), wall, len(s.cores.all())),
		PeakMemory:      mebibytes(peak),
	}
	f.Void = f.voidReason(problem)
	return f, nil
}

func (f figures) voidReason(problem error) string {
	switch {
	case problem != nil:
		return problem.Error()
	case f.CoreShare > 0 && f.CoreShare < fullUse:
		return fmt.Sprintf("the server used %.0f %% of its cores, the generator %.0f %%, the sink %.0f %%, other processes %.0f %% of all",
			100*f.CoreShare, 100*f.GeneratorShare, 100*f.SinkShare, 100*f.OthersShare)
	}
	return ""
}

// latency runs one open loop.
func (s *suite) latency(ctx context.Context, k kind) (l latencies, err error) {
	err = s.serve(ctx, k, func(server *child) error {
		load := newGenerator(server.addr, s.connections)
		defer load.close()
		// The first second warms up and is thrown away.
		for _, seconds := range []float64{1, s.duration.Seconds()} {
			b, err := s.expect(max(int(float64(s.rate)*seconds), 1))
			if err != nil {
				return err
			}
			if l, err = s.openLoop(ctx, server, load, b); err != nil {
				return err
			}
		}
		return nil
	})
	return l, err
}

func (s *suite) openLoop(ctx context.Context, server *child, load *generator, b *batch) (latencies, error) {
	before, begin := s.usage(server), time.Now()
	result := load.openLoop(ctx, b, s.rate)
	if err := ctx.Err(); err != nil {
		return latencies{}, err
	}
	used := s.usage(server).since(before)
	others := coreShare(used.others(), time.Since(begin), len(s.cores.all()))
	_, late := s.sink.await(ctx, result.acked(), s.patience)
	problem := errors.Join(result.err(), late)
	times, err := s.sink.arrivals()
	if err != nil {
		return latencies{}, err
	}
	var travel []int64
	for seq, at := range times {
		if at > 0 {
			travel = append(travel, at-result.sent[seq])
		}
	}
	l := latencies{
		Events:     result.acked(),
		Rate:       perSecond(result.acked(), time.Duration(result.end-result.start)),
		AckP50:     millis(percentile(result.acks, 50)),
		AckP99:     millis(percentile(result.acks, 99)),
		ArrivalP50: millis(percentile(travel, 50)),
		ArrivalP99: millis(percentile(travel, 99)),

		OthersShare: others,
	}
	switch {
	case problem != nil:
		l.Void = problem.Error()
	case l.Rate < 0.98*float64(s.rate):
		l.Void = fmt.Sprintf("the generator reached %.0f/s of %d/s", l.Rate, s.rate)
	}
	return l, nil
}

// idleMemory returns the resident MiB of a server that was started and left alone.
func (s *suite) idleMemory(ctx context.Context, k kind) (idle float64, err error) {
	err = s.serve(ctx, k, func(server *child) error {
		if !pause(ctx, s.idle) {
			return ctx.Err()
		}
		now, _ := server.memory()
		idle = mebibytes(now)
		return nil
	})
	return idle, err
}
