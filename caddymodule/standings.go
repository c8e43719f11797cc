// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-relay/caddy-relay/relay"
)

// standingsCollector tells how the destinations stand when it is scraped.
type standingsCollector struct{ slots, running, down, paused *prometheus.Desc }

func newStandingsCollector(namespace, subsystem string) standingsCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, []string{"destination"}, nil)
	}
	return standingsCollector{
		slots:   desc("slots", "Attempts that may run at once: max_in_flight, and fewer while the destination can not take so many."),
		running: desc("running_attempts", "Attempts under way."),
		down:    desc("destination_down", "1 while the destination is down and only probed."),
		paused:  desc("destination_paused", "1 while an operator has paused the destination."),
	}
}

// Describe implements prometheus.Collector.
func (c standingsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.slots, c.running, c.down, c.paused} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c standingsCollector) Collect(out chan<- prometheus.Metric) {
	for _, s := range standingsOfAll() {
		for desc, value := range map[*prometheus.Desc]float64{
			c.slots: float64(s.Slots), c.running: float64(s.Running), c.down: oneIf(s.Down), c.paused: oneIf(s.Paused),
		} {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, s.Destination)
		}
	}
}

// standingsOfAll returns the standings in all engines by destination. While a
// former store is still open a destination is in two: attempts add up, and the
// smaller number of slots counts.
func standingsOfAll() map[string]relay.Standing {
	all := make(map[string]relay.Standing)
	for _, engine := range allEngines() {
		for _, s := range engine.Standings() {
			if other, ok := all[s.Destination]; ok {
				s.Slots, s.Running = min(s.Slots, other.Slots), s.Running+other.Running
				s.Down, s.Paused = s.Down || other.Down, s.Paused || other.Paused
			}
			all[s.Destination] = s
		}
	}
	return all
}

// Interface guard
var _ prometheus.Collector = standingsCollector{}
