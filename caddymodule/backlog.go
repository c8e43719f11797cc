// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-relay/caddy-relay/relay"
)

// checkBacklog reports a max_backlog that the largest body would never fit into.
func (h *Handler) checkBacklog() error {
	if h.MaxBacklog == 0 {
		return nil
	}
	least := (h.MaxSize + messageOverhead) * int64(len(h.destinations))
	if h.last {
		least += least/3 + 1 // a quarter is kept for senders that never send again
	}
	if h.MaxBacklog >= least {
		return nil
	}
	return fmt.Errorf("max_backlog: %s never has room for a body of max_size, %s: make it at least %d bytes, or lower max_size",
		humanize.IBytes(uint64(h.MaxBacklog)), humanize.IBytes(uint64(h.MaxSize)), least)
}

// messageOverhead is what a message takes of max_backlog beside its body, in bytes.
const messageOverhead = 1 << 10

// backlogCollector tells how large the backlogs of all sources are when it is
// scraped.
type backlogCollector struct{ desc *prometheus.Desc }

func newBacklogCollector(namespace, subsystem string) backlogCollector {
	return backlogCollector{prometheus.NewDesc(
		prometheus.BuildFQName(namespace, subsystem, "backlog_bytes"),
		"What waits to be delivered, as max_backlog counts it.",
		[]string{"source"}, nil,
	)}
}

// Describe implements prometheus.Collector.
func (c backlogCollector) Describe(out chan<- *prometheus.Desc) { out <- c.desc }

// Collect implements prometheus.Collector.
func (c backlogCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	for source, size := range relay.Backlogs(booksOfAll(ctx)) {
		out <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(size), source)
	}
}

// Interface guard
var _ prometheus.Collector = backlogCollector{}
