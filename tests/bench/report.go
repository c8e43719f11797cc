// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
)

// report is everything one run of the benchmark has found; -json writes it.
type report struct {
	Started    string                `json:"started"`
	Command    []string              `json:"command"`
	Machine    machine               `json:"machine"`
	Settings   settings              `json:"settings"`
	Throughput map[kind]*throughputs `json:"throughput,omitempty"`
	Latency    map[kind]*openLoops   `json:"latency,omitempty"`
	Idle       map[kind]*idles       `json:"idle,omitempty"`
	Backlog    []backlogFigures      `json:"backlog,omitempty"`
	Ratios     map[string]float64    `json:"ratios"`
	VoidKinds  []kind                `json:"void_kinds,omitempty"` // no run of theirs counts, so no ratio with them does
}

// settings is the load, the same for every server.
type settings struct {
	Runs             int     `json:"runs"`
	Connections      int     `json:"connections"`
	BodySize         int     `json:"body_bytes"`
	DurationSeconds  float64 `json:"duration_seconds"`
	Events           int     `json:"events,omitempty"`
	Rate             int     `json:"open_loop_rate"`
	Defaults         bool    `json:"default_transport"`
	IdleConnsPerHost int     `json:"keepalive_idle_conns_per_host,omitempty"`
}

// throughputs is one kind's closed loops. Median is over the runs that are not void, and over all of them when
// all are.
type throughputs struct {
	Median   figures   `json:"median"`
	VoidRuns int       `json:"void_runs"`
	Runs     []figures `json:"runs"`
}

type openLoops struct {
	Median   latencies   `json:"median"`
	VoidRuns int         `json:"void_runs"`
	Runs     []latencies `json:"runs"`
}

type idles struct {
	Median float64   `json:"median_mib"`
	Runs   []float64 `json:"runs_mib"`
}

// medianOf returns the median of one field over runs.
func medianOf[T any](runs []T, field func(T) float64) float64 {
	values := make([]float64, len(runs))
	for i, run := range runs {
		values[i] = field(run)
	}
	return median(values)
}

// counting returns the runs that are not void and how many are, or all of them and "all runs void" when all are.
func counting[T any](runs []T, void func(T) string) (valid []T, voids int, note string) {
	for _, run := range runs {
		if void(run) == "" {
			valid = append(valid, run)
		}
	}
	if len(valid) == 0 && len(runs) > 0 {
		return runs, len(runs), "all runs void"
	}
	return valid, len(runs) - len(valid), ""
}

func (t *throughputs) summarise() {
	valid, voids, note := counting(t.Runs, func(f figures) string { return f.Void })
	t.VoidRuns = voids
	t.Median = figures{
		Events:          int(medianOf(valid, func(f figures) float64 { return float64(f.Events) })),
		EventsPerSecond: medianOf(valid, func(f figures) float64 { return f.EventsPerSecond }),
		AcksPerSecond:   medianOf(valid, func(f figures) float64 { return f.AcksPerSecond }),
		AckP50:          medianOf(valid, func(f figures) float64 { return f.AckP50 }),
		AckP99:          medianOf(valid, func(f figures) float64 { return f.AckP99 }),
		CPUPer10k:       medianOf(valid, func(f figures) float64 { return f.CPUPer10k }),
		CoreShare:       medianOf(valid, func(f figures) float64 { return f.CoreShare }),
		GeneratorShare:  medianOf(valid, func(f figures) float64 { return f.GeneratorShare }),
		SinkShare:       medianOf(valid, func(f figures) float64 { return f.SinkShare }),
		OthersShare:     medianOf(valid, func(f figures) float64 { return f.OthersShare }),
		PeakMemory:      medianOf(valid, func(f figures) float64 { return f.PeakMemory }),
		Void:            note,
	}
}

func (o *openLoops) summarise() {
	valid, voids, note := counting(o.Runs, func(l latencies) string { return l.Void })
	o.VoidRuns = voids
	o.Median = latencies{
		Events:     int(medianOf(valid, func(l latencies) float64 { return float64(l.Events) })),
		Rate:       medianOf(valid, func(l latencies) float64 { return l.Rate }),
		AckP50:     medianOf(valid, func(l latencies) float64 { return l.AckP50 }),
		AckP99:     medianOf(valid, func(l latencies) float64 { return l.AckP99 }),
		ArrivalP50: medianOf(valid, func(l latencies) float64 { return l.ArrivalP50 }),
		ArrivalP99: medianOf(valid, func(l latencies) float64 { return l.ArrivalP99 }),

		OthersShare: medianOf(valid, func(l latencies) float64 { return l.OthersShare }),
		Void:        note,
	}
}

// summarise fills in medians and ratios from the runs so far.
func (r *report) summarise() {
	rate, cpu, peak := map[kind]float64{}, map[kind]float64{}, map[kind]float64{}
	r.VoidKinds = nil
	for k, t := range r.Throughput {
		t.summarise()
		if t.Median.Void != "" {
			r.VoidKinds = append(r.VoidKinds, k)
		}
		rate[k], cpu[k], peak[k] = t.Median.EventsPerSecond, t.Median.CPUPer10k, t.Median.PeakMemory
	}
	slices.Sort(r.VoidKinds)
	for _, o := range r.Latency {
		o.summarise()
	}
	idle := map[kind]float64{}
	for k, i := range r.Idle {
		i.Median = median(i.Runs)
		idle[k] = i.Median
	}
	r.Ratios = map[string]float64{}
	put := func(name string, value float64) {
		if value != 0 {
			r.Ratios[name] = value
		}
	}
	put("accept_to_respond", ratio(rate[kindAccept], rate[kindRespond]))
	put("end_to_end_to_reverse_proxy", ratio(rate[kindEndToEnd], rate[kindProxy]))
	put("cpu_end_to_end_to_reverse_proxy", ratio(cpu[kindEndToEnd], cpu[kindProxy]))
	put("cpu_accept_to_respond", ratio(cpu[kindAccept], cpu[kindRespond]))
	put("peak_memory_end_to_end_to_reverse_proxy", ratio(peak[kindEndToEnd], peak[kindProxy]))
	put("idle_memory_relay_to_plain", ratio(idle[kindAccept], idle[kindRespond]))
	if len(r.Backlog) > 0 {
		drain := medianOf(r.Backlog, func(f backlogFigures) float64 { return f.DrainPerSecond })
		put("drain_to_end_to_end", ratio(drain, rate[kindEndToEnd]))
	}
}

// writeJSON writes the report to path.
func (r *report) writeJSON(path string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	if err := os.WriteFile(path, append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// print writes the report as tables.
func (r *report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	r.Machine.print(w)
	if len(r.Throughput) > 0 {
		fmt.Fprintf(w, "\nclosed loop, %d connections, %d byte bodies\n", r.Settings.Connections, r.Settings.BodySize)
		fmt.Fprintln(w, "\tevents/s\tacks/s\tack p50 ms\tack p99 ms\tCPU s/10k\tcores used\tgenerator\tsink\tothers\tpeak MiB\tvoid runs")
		for _, k := range []kind{kindRespond, kindProxy, kindAccept, kindEndToEnd} {
			if t := r.Throughput[k]; t != nil {
				m := t.Median
				fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.2f\t%.2f\t%.3f\t%.0f %%\t%.0f %%\t%.0f %%\t%.0f %%\t%.0f\t%d of %d\n", k, m.EventsPerSecond, m.AcksPerSecond,
					m.AckP50, m.AckP99, m.CPUPer10k, 100*m.CoreShare, 100*m.GeneratorShare, 100*m.SinkShare, 100*m.OthersShare, m.PeakMemory, t.VoidRuns, len(t.Runs))
			}
		}
	}
	if len(r.Latency) > 0 {
		fmt.Fprintf(w, "\nopen loop, %d events/s\n", r.Settings.Rate)
		fmt.Fprintln(w, "\tack p50 ms\tack p99 ms\tarrival p50 ms\tarrival p99 ms\tothers\tvoid runs")
		for _, k := range []kind{kindProxy, kindEndToEnd} {
			if o := r.Latency[k]; o != nil {
				m := o.Median
				fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f %%\t%d of %d\n", k, m.AckP50, m.AckP99, m.ArrivalP50, m.ArrivalP99,
					100*m.OthersShare, o.VoidRuns, len(o.Runs))
			}
		}
	}
	r.printRest(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	return nil
}

func (r *report) printRest(w io.Writer) {
	if len(r.Idle) > 0 {
		fmt.Fprintln(w, "\nidle memory\tMiB")
		for _, k := range []kind{kindRespond, kindAccept} {
			if i := r.Idle[k]; i != nil {
				name := "plain Caddy"
				if k == kindAccept {
					name = "with relay"
				}
				fmt.Fprintf(w, "%s\t%.1f\n", name, i.Median)
			}
		}
	}
	for _, b := range r.Backlog {
		fmt.Fprintf(w, "\nbacklog of %d\tseeded %.0f/s\tready %.2f s\tdrained %.0f/s\tCPU %.3f s/10k\tresident median %.0f MiB\tpeak %.0f MiB\tmissing %d\ttwice %d\n",
			b.Messages, b.SeedPerSecond, b.Ready, b.DrainPerSecond, b.DrainCPUPer10k, b.ResidentMedian, b.ResidentPeak,
			b.MissingMessages, b.Duplicates)
	}
	if len(r.Ratios) > 0 {
		fmt.Fprintln(w, "\nratio\t")
		for _, name := range slices.Sorted(maps.Keys(r.Ratios)) {
			fmt.Fprintf(w, "%s\t%.2f\n", name, r.Ratios[name])
		}
		if len(r.VoidKinds) > 0 {
			fmt.Fprintf(w, "ratios of rates do not count: every run was void of %v\n", r.VoidKinds)
		}
	}
}
