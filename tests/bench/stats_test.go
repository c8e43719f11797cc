// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"
	"time"
)

func TestPercentileIsTheNearestRank(t *testing.T) {
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(100 - i)
	}
	for _, c := range []struct {
		samples []int64
		p       float64
		want    int64
	}{
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
		{hundred, 0, 1},
		{[]int64{7}, 99, 7},
		{[]int64{3, 1, 2}, 50, 2},
		{nil, 50, 0},
	} {
		if got := percentile(slices.Clone(c.samples), c.p); got != c.want {
			t.Errorf("percentile %v of %d samples: %d, want %d", c.p, len(c.samples), got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{4}, 4}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.values, got, c.want)
		}
	}
}

func TestVoidRunsDoNotCountUnlessAllAre(t *testing.T) {
	some := &throughputs{Runs: []figures{{EventsPerSecond: 10}, {EventsPerSecond: 1000, Void: "idle"}, {EventsPerSecond: 20}}}
	some.summarise()
	if some.Median.EventsPerSecond != 15 || some.VoidRuns != 1 || some.Median.Void != "" {
		t.Errorf("one of three void: %+v", some)
	}
	all := &throughputs{Runs: []figures{{EventsPerSecond: 10, Void: "idle"}, {EventsPerSecond: 30, Void: "idle"}}}
	all.summarise()
	if all.Median.EventsPerSecond != 20 || all.VoidRuns != 2 || all.Median.Void == "" {
		t.Errorf("both void: %+v", all)
	}
}

func TestRatiosAreToPlainCaddy(t *testing.T) {
	r := &report{
		Throughput: map[kind]*throughputs{
			kindRespond:  {Runs: []figures{{EventsPerSecond: 100}}},
			kindAccept:   {Runs: []figures{{EventsPerSecond: 60}}},
			kindProxy:    {Runs: []figures{{EventsPerSecond: 50, CPUPer10k: 0.8}}},
			kindEndToEnd: {Runs: []figures{{EventsPerSecond: 40, CPUPer10k: 1}}},
		},
		Backlog: []backlogFigures{{DrainPerSecond: 36}},
	}
	r.summarise()
	for name, want := range map[string]float64{
		"accept_to_respond": 0.6, "end_to_end_to_reverse_proxy": 0.8,
		"cpu_end_to_end_to_reverse_proxy": 1.25, "drain_to_end_to_end": 0.9,
	} {
		if got := r.Ratios[name]; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if len(r.VoidKinds) > 0 {
		t.Errorf("void kinds %v", r.VoidKinds)
	}
	r.Throughput[kindProxy].Runs[0].Void = "idle"
	if r.summarise(); !slices.Equal(r.VoidKinds, []kind{kindProxy}) {
		t.Errorf("void kinds %v, want the proxy", r.VoidKinds)
	}
	if _, ok := r.Ratios["idle_memory_relay_to_plain"]; ok {
		t.Error("a ratio of figures that were not measured")
	}
}

func TestProcFilesAreRead(t *testing.T) {
	stat := []byte("4242 (ca (d) dy) S 1 4242 4242 0 -1 4194560 100 0 0 0 150 250 0 0 20 0 9 0 100 0 0")
	if got := parseCPUTime(stat); got != 4*time.Second {
		t.Errorf("processor time %s, want 4s", got)
	}
	status := []byte("Name:\tcaddy\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n")
	if now, peak := parseMemory(status, "VmRSS:"), parseMemory(status, "VmHWM:"); now != 1<<20 || peak != 2<<20 {
		t.Errorf("resident %d, peak %d", now, peak)
	}
	cores := []byte("cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 10 20 5000 50 1 2 3 0 0\ncpu1 900 0 0 1 1 0 0 0 0 0\ncpu10 64 0 0 1 1 0 0 0 0 0\nintr 1 2\n")
	if got := parseBusyTime(cores, []int{0, 10}); got != 2*time.Second {
		t.Errorf("busy %s, want 2s", got)
	}
	for _, broken := range []string{"", "1 (x) S", "1 (x) S 1 1 1 1 1 1 1 1 1 1 one two 0"} {
		if got := parseCPUTime([]byte(broken)); got != 0 {
			t.Errorf("processor time %s from %q", got, broken)
		}
	}
}

func TestCoresAreDivided(t *testing.T) {
	for _, c := range []struct {
		allowed                 []int
		wanted                  int
		server, generator, sink []int
	}{
		{[]int{0, 1, 2, 3}, 0, []int{0, 1}, []int{2}, []int{3}},
		{[]int{4, 5, 6, 7}, 1, []int{4}, []int{5, 6}, []int{7}},
		{[]int{0, 1, 2, 3, 4, 5, 6, 7}, 0, []int{0, 1, 2, 3}, []int{4, 5}, []int{6, 7}},
		{[]int{0, 1}, 0, []int{0}, []int{1}, []int{1}},
		{[]int{0}, 0, nil, nil, nil},
	} {
		got, err := divide(c.allowed, c.wanted)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Server, c.server) || !slices.Equal(got.Generator, c.generator) || !slices.Equal(got.Sink, c.sink) {
			t.Errorf("%v with %d for the server: %+v", c.allowed, c.wanted, got)
		}
	}
	if _, err := divide([]int{0, 1}, 2); err == nil {
		t.Error("no error when the server would have every core")
	}
}
