// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

const (
	// clockMinutes is how far back a clockWatch looks.
	clockMinutes = 5

	// clockLeast is how many requests must be out of their time before a clock is
	// suspected: one or two are a sender that was held up.
	clockLeast = 10
)

// clockWatch suspects the clock of this host when most of the requests whose
// signature is right are out of their time. A sender whose request is refused for
// our mistake should come again, so that it must not be told that it was its own.
//
// It costs nothing while no request is out of its time: what came in time is only
// counted from the first one on that did not.
type clockWatch struct {
	watching atomic.Bool

	mu      sync.Mutex
	begun   time.Time // when it began to count
	minutes [clockMinutes]clockMinute
	suspect bool
}

// clockMinute counts the requests of one minute since the watch began.
type clockMinute struct {
	number        int
	timely, stale int
}

// timely notes a request that came in time, and reports whether the suspicion ends
// with it.
func (c *clockWatch) timely(now time.Time) (ended bool) {
	if !c.watching.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.watching.Load() {
		return false
	}
	c.minute(now).timely++
	return c.judge(now) < 0
}

// stale notes a request that is out of its time. It reports whether the clock is
// suspected now, and whether it was not before.
func (c *clockWatch) stale(now time.Time) (suspect, began bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.watching.Load() {
		c.begun, c.minutes = now, [clockMinutes]clockMinute{}
		c.watching.Store(true)
	}
	c.minute(now).stale++
	began = c.judge(now) > 0
	return c.suspect, began
}

// suspected reports whether the clock is suspected.
func (c *clockWatch) suspected(now time.Time) bool {
	if !c.watching.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	timely, stale := c.counted(now)
	return c.suspect && mostly(stale, timely)
}

// minute returns the counts of the present minute. A clock that is set back does
// not move it: times that carry a monotonic reading are compared by that.
func (c *clockWatch) minute(now time.Time) *clockMinute {
	number := c.number(now)
	m := &c.minutes[number%clockMinutes]
	if m.number != number {
		*m = clockMinute{number: number}
	}
	return m
}

func (c *clockWatch) number(now time.Time) int { return int(max(0, now.Sub(c.begun)) / time.Minute) }

// counted adds up the minutes that count.
func (c *clockWatch) counted(now time.Time) (timely, stale int) {
	number := c.number(now)
	for _, m := range c.minutes {
		if number-m.number < clockMinutes {
			timely, stale = timely+m.timely, stale+m.stale
		}
	}
	return timely, stale
}

// judge draws the conclusion, and returns 1 where a suspicion begins with it, -1
// where it ends. With nothing out of its time any more nothing is counted.
func (c *clockWatch) judge(now time.Time) int {
	timely, stale := c.counted(now)
	was := c.suspect
	c.suspect = mostly(stale, timely)
	if stale == 0 {
		c.watching.Store(false)
	}
	switch {
	case c.suspect == was:
		return 0
	case was:
		return -1
	default:
		return 1
	}
}

// mostly reports whether so many requests out of their time, beside those in time,
// are too many to be the senders' fault.
func mostly(stale, timely int) bool { return stale >= clockLeast && stale > timely }

// clockKey says whose requests a clockWatch looks at.
type clockKey struct{ source, scheme string }

// clocks are the clock watches of an engine, so that a reload does not make them
// forget.
type clocks struct{ byKey sync.Map }

func (c *clocks) of(source, scheme string) *clockWatch {
	watch, _ := c.byKey.LoadOrStore(clockKey{source, scheme}, new(clockWatch))
	return watch.(*clockWatch)
}

// suspectClocks lists the sources and schemes whose requests make the clock of this
// host suspect.
func (p *pooledEngine) suspectClocks(now time.Time) []clockKey {
	var list []clockKey
	p.clocks.byKey.Range(func(key, watch any) bool {
		if watch.(*clockWatch).suspected(now) {
			list = append(list, key.(clockKey))
		}
		return true
	})
	slices.SortFunc(list, func(a, b clockKey) int {
		return cmp.Or(strings.Compare(a.source, b.source), strings.Compare(a.scheme, b.scheme))
	})
	return list
}

// inTime notes that the time of a good request is right.
func (b *binding) inTime(now time.Time) {
	if b.clock.timely(now) {
		b.log.Info("requests are in their time again; the clock of this host is not suspected any more")
	}
}

// suspects notes a request whose signature is right and whose time is not, and
// reports whether that is held to be our own fault.
func (b *binding) suspects(now time.Time, f *scheme.Failure) bool {
	suspect, began := b.clock.stale(now)
	if began {
		b.log.Error("most requests with a good signature are out of their time: set the clock of this host; as long as that is so they get 503, for their senders to come again",
			zap.Duration("skew", f.Skew), zap.Duration("limit", f.Limit))
	}
	return suspect
}

// outOfTime is the refusal of requests whose time is held to be right.
func outOfTime(f *scheme.Failure) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, reason: "clock_suspect", detail: f.Detail}
}

// isStale reports whether only the time of a request is wrong.
func isStale(f *scheme.Failure) bool { return errors.Is(f, scheme.ErrStale) }

// clockCollector tells when it is scraped which clocks are suspected.
type clockCollector struct{ desc *prometheus.Desc }

// Describe implements prometheus.Collector.
func (c clockCollector) Describe(out chan<- *prometheus.Desc) { out <- c.desc }

// Collect implements prometheus.Collector.
func (c clockCollector) Collect(out chan<- prometheus.Metric) {
	values := make(map[clockKey]float64)
	now := time.Now()
	for _, engine := range allEngines() {
		engine.clocks.byKey.Range(func(key, _ any) bool {
			values[key.(clockKey)] = max(values[key.(clockKey)], 0)
			return true
		})
		for _, key := range engine.suspectClocks(now) {
			values[key] = 1
		}
	}
	for key, value := range values {
		out <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, value, key.source, key.scheme)
	}
}

// Interface guard
var _ prometheus.Collector = clockCollector{}
