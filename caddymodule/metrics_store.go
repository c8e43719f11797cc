// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-relay/caddy-relay/relay"
)

// storesCollector asks all engines how their stores are when it is scraped.
type storesCollector struct {
	free, used, state, doubtful, unreadable *prometheus.Desc
}

func newStoresCollector(namespace, subsystem string) storesCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, append([]string{"store"}, labels...), nil)
	}
	return storesCollector{
		free:       desc("store_free_bytes", "Space left on the volume of the store."),
		used:       desc("store_used_bytes", "Space that the store takes."),
		state:      desc("store_state", "1 for the state that the store is in.", "state"),
		doubtful:   desc("store_doubtful", "1 where the file system of the store may not keep what was committed."),
		unreadable: desc("store_unreadable_files", "Files of the store that have rotted, and keep their space until their messages are gone."),
	}
}

// Describe implements prometheus.Collector.
func (c storesCollector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.free, c.used, c.state, c.doubtful, c.unreadable} {
		out <- desc
	}
}

// storeStates are the states of a store: those of its disk, and that of one that
// accepts nothing for another reason.
var storeStates = []string{relay.DiskAmple.String(), relay.DiskShort.String(), relay.DiskFull.String(), storeFailed}

const storeFailed = "failed"

// stateOf returns the state of an engine's store.
func stateOf(h *relay.Health) string {
	if h.Store.Err != nil {
		return storeFailed
	}
	return h.Disk.String()
}

// Collect implements prometheus.Collector.
func (c storesCollector) Collect(out chan<- prometheus.Metric) {
	for _, engine := range allEngines() {
		h := engine.Health()
		name := h.Store.Location
		if name == "" {
			continue // it was never open
		}
		gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{name}, labels...)...)
		}
		if h.Store.VolumeBytes > 0 {
			gauge(c.free, float64(h.Store.FreeBytes))
			gauge(c.used, float64(h.Store.UsedBytes))
		}
		current := stateOf(&h)
		for _, state := range storeStates {
			gauge(c.state, oneIf(state == current), state)
		}
		gauge(c.doubtful, oneIf(h.Store.Doubt != ""))
		gauge(c.unreadable, float64(h.Store.Unreadable))
	}
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Interface guard
var _ prometheus.Collector = storesCollector{}
