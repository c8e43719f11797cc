// SPDX-License-Identifier: Apache-2.0

// Command bench measures caddy-relay against plain Caddy on the same machine in the same run. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	repo, caddy, temp, json, only string

	runs, connections, bodySize, events, rate int
	duration, warmup, idle, patience          time.Duration

	coreCount, idleConns, messages int
	defaults                       bool
}

// scenarios are the names that -only takes: a kind of server for its closed loop, or a kind and another measure.
// The last one takes long and is only run when asked for.
var scenarios = []string{
	"respond", "reverse_proxy", "accept", "end_to_end",
	"reverse_proxy.latency", "end_to_end.latency",
	"respond.idle", "accept.idle",
	"end_to_end.backlog",
}

func splitScenario(name string) (k kind, measure string) {
	before, after, _ := strings.Cut(name, ".")
	return kind(before), after
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.repo, "repo", filepath.Join("..", ".."), "the repository whose ./cmd/caddy is built")
	flags.StringVar(&o.caddy, "caddy", "", "a binary to measure instead of building one")
	flags.StringVar(&o.temp, "dir", "", "where stores are kept while they are measured; must be on the disk that is meant (default: the system's temporary directory)")
	flags.StringVar(&o.json, "json", "", "write the report to this file as JSON")
	flags.StringVar(&o.only, "only", strings.Join(scenarios[:len(scenarios)-1], ","), "what to measure, comma-separated; end_to_end.backlog exists too")
	flags.IntVar(&o.runs, "runs", 1, "runs of everything; the report gives medians")
	flags.IntVar(&o.connections, "connections", 512, "connections of the generator: enough to keep the cores of every server busy")
	flags.IntVar(&o.bodySize, "body", 1024, "bytes of each body")
	flags.IntVar(&o.events, "events", 0, "events of each closed loop (default: as many as the warm-up says fill -duration)")
	flags.DurationVar(&o.duration, "duration", 10*time.Second, "length of each measured loop")
	flags.DurationVar(&o.warmup, "warmup", 2*time.Second, "length of each warm-up")
	flags.IntVar(&o.rate, "rate", 500, "events per second of the open loop")
	flags.DurationVar(&o.idle, "idle", 5*time.Second, "how long a server is left alone before its idle memory is read")
	flags.DurationVar(&o.patience, "patience", 30*time.Second, "how long no event may arrive before the rest counts as lost")
	flags.IntVar(&o.coreCount, "cores", 0, "cores of the server (default: half of them)")
	flags.BoolVar(&o.defaults, "defaults", false, "compare as a user gets them: no transport options on either side")
	flags.IntVar(&o.idleConns, "idle-conns", 512, "keepalive_idle_conns_per_host on both sides, unless -defaults")
	flags.IntVar(&o.messages, "messages", 1_000_000, "messages of the backlog")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for name := range strings.SplitSeq(o.only, ",") {
		if !slices.Contains(scenarios, name) {
			return o, fmt.Errorf("-only: there is no scenario %q; there are %s", name, strings.Join(scenarios, ", "))
		}
	}
	if min(o.runs, o.connections, o.rate, o.messages) < 1 {
		return o, errors.New("-runs, -connections, -rate and -messages must be at least 1")
	}
	return o, nil
}

func main() {
	var err error
	if len(os.Args) == 3 && os.Args[1] == "sink" {
		err = sinkMain(os.Args[2])
	} else {
		err = benchMain(os.Args[1:])
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func sinkMain(procs string) error {
	count, err := strconv.Atoi(procs)
	if err != nil {
		return fmt.Errorf("reading the number of the sink's threads: %w", err)
	}
	return serveSink(count)
}

func benchMain(args []string) (err error) {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := checkDown(); err != nil {
		return err
	}
	s := &suite{options: o}
	if s.cores, err = divide(allowedCores(), o.coreCount); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp(o.temp, "relay-bench-"); err != nil {
		return fmt.Errorf("making a temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return fmt.Errorf("finding the temporary directory: %w", err)
	}
	if s.binary, err = s.findBinary(ctx); err != nil {
		return err
	}
	r := s.newReport(args)
	if r.Machine, err = describe(s.binary, s.dir, s.cores); err != nil {
		return err
	}
	sink, err := startSink(ctx, s.cores)
	if err != nil {
		return err
	}
	defer sink.crash()
	s.sink, s.sinkProcess = sinkClient{sink.addr}, sink
	if err := s.runAll(ctx, r); err != nil {
		return err
	}
	r.summarise()
	if o.json != "" {
		if err := r.writeJSON(o.json); err != nil {
			return err
		}
	}
	return r.print(os.Stdout)
}

func (s *suite) findBinary(ctx context.Context) (string, error) {
	if s.caddy == "" {
		return build(ctx, s.repo, s.dir)
	}
	path, err := filepath.Abs(s.caddy)
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", s.caddy, err)
	}
	return path, nil
}

func (s *suite) newReport(args []string) *report {
	r := &report{
		Started: time.Now().UTC().Format(time.RFC3339),
		Command: append([]string{"go", "run", "."}, args...),
		Settings: settings{
			Runs:            s.runs,
			Connections:     s.connections,
			BodySize:        s.bodySize,
			DurationSeconds: s.duration.Seconds(),
			Events:          s.events,
			Rate:            s.rate,
			Defaults:        s.defaults,
		},
		Throughput: map[kind]*throughputs{},
		Latency:    map[kind]*openLoops{},
		Idle:       map[kind]*idles{},
	}
	if !s.defaults {
		r.Settings.IdleConnsPerHost = s.idleConns
	}
	return r
}

// runAll runs every scenario once per run, and not one scenario after the other, so that a machine that
// changes its speed meanwhile changes it for all.
func (s *suite) runAll(ctx context.Context, r *report) error {
	for run := range s.runs {
		for name := range strings.SplitSeq(s.only, ",") {
			fmt.Fprintf(os.Stderr, "run %d of %d: %s\n", run+1, s.runs, name)
			if err := s.runOne(ctx, r, name); err != nil {
				return fmt.Errorf("measuring %s: %w", name, err)
			}
		}
	}
	return nil
}

func (s *suite) runOne(ctx context.Context, r *report, name string) error {
	k, measure := splitScenario(name)
	if err := s.cores.placeGenerator(k.delivers()); err != nil {
		return err
	}
	switch measure {
	case "":
		f, err := s.throughput(ctx, k)
		if err != nil {
			return err
		}
		entry(r.Throughput, k).Runs = append(entry(r.Throughput, k).Runs, f)
	case "latency":
		l, err := s.latency(ctx, k)
		if err != nil {
			return err
		}
		entry(r.Latency, k).Runs = append(entry(r.Latency, k).Runs, l)
	case "idle":
		idle, err := s.idleMemory(ctx, k)
		if err != nil {
			return err
		}
		entry(r.Idle, k).Runs = append(entry(r.Idle, k).Runs, idle)
	case "backlog":
		f, err := s.runBacklog(ctx)
		if err != nil {
			return err
		}
		r.Backlog = append(r.Backlog, f)
	}
	return nil
}

// entry returns m[k], made when it is missing.
func entry[T any](m map[kind]*T, k kind) *T {
	if m[k] == nil {
		m[k] = new(T)
	}
	return m[k]
}
