// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"slices"
	"time"
)

// floodResult is what became of what was offered.
type floodResult struct {
	span     time.Duration // in which it was offered
	heldBack int           // arrivals for which no connection was free before their senders lost patience
	kinds    map[string]*floodCount
}

func newFloodResult() *floodResult { return &floodResult{kinds: make(map[string]*floodCount)} }

// of returns the count of the requests of one kind.
func (r *floodResult) of(kind string) *floodCount {
	c := r.kinds[kind]
	if c == nil {
		c = &floodCount{statuses: make(map[int]int)}
		r.kinds[kind] = c
	}
	return c
}

// add adds another result to this one.
func (r *floodResult) add(other *floodResult) {
	for kind, from := range other.kinds {
		to := r.of(kind)
		for status, n := range from.statuses {
			to.statuses[status] += n
		}
		to.failures += from.failures
		to.hasty += from.hasty
		to.fresh += from.fresh
		to.latencies = append(to.latencies, from.latencies...)
		if from.lastErr != nil {
			to.lastErr = from.lastErr
		}
	}
}

// sum is the count of all kinds together.
func (r *floodResult) sum() *floodCount {
	all := &floodResult{kinds: make(map[string]*floodCount)}
	for _, c := range r.kinds {
		all.add(&floodResult{kinds: map[string]*floodCount{"": c}})
	}
	return all.of("")
}

// offered returns how many events happened per second, whether or not they could be sent.
func (r *floodResult) offered() float64 {
	return float64(r.sum().sent()+r.heldBack) / r.span.Seconds()
}

// reached returns the share of the events that could be sent.
func (r *floodResult) reached() float64 {
	sent := float64(r.sum().sent())
	return sent / max(sent+float64(r.heldBack), 1)
}

// goodput returns how many events per second had been accepted for the first time when the span ended. Duplicates do
// not count: how many of them are let in depends on who is refused.
func (r *floodResult) goodput() float64 { return float64(r.sum().fresh) / r.span.Seconds() }

// floodCount is what became of the requests of one kind.
type floodCount struct {
	statuses  map[int]int
	failures  int
	hasty     int // 503 without Retry-After
	fresh     int // events accepted for the first time, while more was being offered
	latencies []time.Duration
	lastErr   error
}

// note notes what became of one request: whether its answer says when to come back, how long it took, and whether an
// event was accepted for the first time with it, before the flood ended.
func (c *floodCount) note(status int, patient bool, err error, took time.Duration, fresh bool) {
	switch {
	case err != nil:
		c.failures++
		c.lastErr = err
		return
	case status/100 == 2:
		c.latencies = append(c.latencies, took)
		if fresh {
			c.fresh++
		}
	case status == 503 && !patient:
		c.hasty++
	}
	c.statuses[status]++
}

// sent returns how many requests were sent.
func (c *floodCount) sent() int {
	n := c.failures
	for _, count := range c.statuses {
		n += count
	}
	return n
}

// accepted returns how many requests got a 2xx.
func (c *floodCount) accepted() int { return len(c.latencies) }

// refused returns the share of the requests that got a 503.
func (c *floodCount) refused() float64 { return float64(c.statuses[503]) / float64(max(c.sent(), 1)) }

// percentile returns the latency that so many of the accepted requests had at most.
func (c *floodCount) percentile(p float64) time.Duration {
	if len(c.latencies) == 0 {
		return 0
	}
	slices.Sort(c.latencies)
	return c.latencies[int(p*float64(len(c.latencies)-1))].Round(time.Millisecond)
}
