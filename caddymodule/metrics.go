// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// metrics are made once and registered anew with the registry of each
// configuration: counters go on over reloads. Their labels are names from the
// configuration and fixed words, nothing that a sender sends.
var metrics = newCollectors()

type collectors struct {
	requests   *prometheus.CounterVec
	rejected   *prometheus.CounterVec
	matches    *prometheus.CounterVec
	undeduped  *prometheus.CounterVec
	unordered  *prometheus.CounterVec
	attempts   *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	deliveries deliveriesCollector
	backlogs   backlogCollector
	unretried  *prometheus.CounterVec
	clocks     clockCollector
	standings  standingsCollector
	stores     storesCollector
}

func newCollectors() *collectors {
	const namespace, subsystem = "caddy", "relay"
	return &collectors{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "requests_total",
			Help: "Requests by what became of them.",
		}, []string{"source", "outcome"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "rejected_total",
			Help: "Requests that were refused, by the reason.",
		}, []string{"source", "reason"}),
		matches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "secret_matches_total",
			Help: "Requests that were verified, by the number of the secret that did.",
		}, []string{"source", "scheme", "secret"}),
		undeduped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "undeduped_total",
			Help: "Requests that lacked the identity that duplicates are found by.",
		}, []string{"source"}),
		unordered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "unordered_total",
			Help: "Requests that lacked the key of order_by, and are delivered without order.",
		}, []string{"source"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "attempts_total",
			Help: "Attempts by how they ended.",
		}, []string{"destination", "outcome"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "attempt_duration_seconds",
			Help:    "How long attempts took.",
			Buckets: prometheus.DefBuckets,
		}, []string{"destination"}),
		deliveries: deliveriesCollector{prometheus.NewDesc(
			prometheus.BuildFQName(namespace, subsystem, "deliveries"),
			"Deliveries by state, from the books of the store.",
			[]string{"destination", "state"}, nil,
		)},
		backlogs: newBacklogCollector(namespace, subsystem),
		unretried: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "unretried_refusals_total",
			Help: "Requests that got 503 although their sender does not send again by itself.",
		}, []string{"source", "reason"}),
		clocks: clockCollector{prometheus.NewDesc(
			prometheus.BuildFQName(namespace, subsystem, "clock_suspect"),
			"Whether most requests with a good signature are out of their time.",
			[]string{"source", "scheme"}, nil,
		)},
		standings: newStandingsCollector(namespace, subsystem),
		stores:    newStoresCollector(namespace, subsystem),
	}
}

// registerMetrics registers all collectors with the registry of a configuration.
func registerMetrics(registry *prometheus.Registry) error {
	if registry == nil {
		return nil
	}
	for _, collector := range []prometheus.Collector{
		metrics.requests, metrics.rejected, metrics.matches, metrics.undeduped, metrics.unordered, metrics.attempts, metrics.durations,
		metrics.deliveries, metrics.backlogs, metrics.standings, metrics.unretried, metrics.clocks, metrics.stores,
	} {
		err := registry.Register(collector)
		if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok && already.ExistingCollector == collector {
			continue
		}
		if err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// request counts a request that the engine does not count.
func (c *collectors) request(source, outcome string) {
	c.requests.WithLabelValues(source, outcome).Inc()
}

// metricsObserver tells the metrics what an engine does.
type metricsObserver struct{}

// Accepted implements relay.Observer.
func (metricsObserver) Accepted(source string, v store.Verdict, n int) {
	outcome := "accepted"
	if v != store.Fresh {
		outcome = v.String()
	}
	metrics.requests.WithLabelValues(source, outcome).Add(float64(n))
}

// Attempted implements relay.Observer.
func (metricsObserver) Attempted(r relay.AttemptReport) {
	metrics.attempts.WithLabelValues(r.Destination, r.Outcome.String()).Inc()
	metrics.durations.WithLabelValues(r.Destination).Observe(r.Duration.Seconds())
}

// deliveriesCollector reads the books of all engines when it is scraped.
type deliveriesCollector struct{ desc *prometheus.Desc }

// Describe implements prometheus.Collector.
func (c deliveriesCollector) Describe(out chan<- *prometheus.Desc) { out <- c.desc }

// scrapeTime bounds how long the books may take to be read.
const scrapeTime = 2 * time.Second

// Collect implements prometheus.Collector.
func (c deliveriesCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	for destination, b := range booksOfAll(ctx) {
		for state, n := range map[string]uint64{
			"open": b.Open, "delivered": b.Delivered, "dead": b.Dead, "canceled": b.Canceled, "deleted": b.Deleted,
		} {
			out <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), destination, state)
		}
	}
}

// booksOfAll adds up the books of all engines: while a former store is still
// open, a destination is in two.
func booksOfAll(ctx context.Context) map[string]store.Books {
	sum := make(map[string]store.Books)
	for _, engine := range allEngines() {
		books, err := engine.Books(ctx)
		if err != nil {
			continue // an engine that is not open has no books to show
		}
		for destination, b := range books {
			s := sum[destination]
			s.Made += b.Made
			s.Open += b.Open
			s.Delivered += b.Delivered
			s.Dead += b.Dead
			s.Canceled += b.Canceled
			s.Deleted += b.Deleted
			s.OpenBytes += b.OpenBytes
			sum[destination] = s
		}
	}
	return sum
}

// Interface guards
var (
	_ relay.Observer       = metricsObserver{}
	_ prometheus.Collector = deliveriesCollector{}
)
