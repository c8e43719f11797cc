// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"net/http"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// breakerThreshold is how many attempts in a row must find a destination down
	// before its breaker opens at once.
	breakerThreshold = 10

	// breakerFew and breakerSpan open the breaker of a destination that gets little:
	// so many attempts in a row must have found it down, the last one so long after
	// the first. A short stumble is too short for that, and one attempt alone says
	// too little.
	breakerFew  = 3
	breakerSpan = 5 * time.Second

	// probeEvery is how often a destination whose breaker is open is tried.
	probeEvery = 5 * time.Second
)

// breaker keeps deliveries from a destination that is down: while it is open,
// one attempt at a time probes the destination, and the time until it closes
// costs no delivery an attempt.
//
// It opens when attempts in a row have found the destination down, none of them
// up: breakerThreshold of them, however fast, or breakerFew over breakerSpan. An
// attempt that finds nothing out changes nothing. It closes with the first
// attempt that finds the destination up.
type breaker struct {
	// failures counts the attempts in a row that found the destination down, since
	// is when the first of them ended.
	failures int
	since    time.Time

	open    bool
	probing bool
	probeAt time.Time

	// outage counts the attempts that have found the destination up. A probe that was
	// begun before the last of them is an attempt like any other.
	outage uint64
}

// allow returns how many of free slots may be used now.
func (b *breaker) allow(now time.Time, free int) int {
	switch {
	case !b.open:
		return free
	case b.probing || now.Before(b.probeAt):
		return 0
	default:
		return min(free, 1)
	}
}

// retry lets the next probe go at once, whatever the one under way will find.
func (b *breaker) retry(now time.Time) {
	b.probing = false
	if b.open {
		b.probeAt = now
	}
}

// ended takes in what an attempt found.
func (b *breaker) ended(now time.Time, probe bool, found condition) {
	if probe {
		b.probing = false
	}
	switch found {
	case up, busy:
		*b = breaker{outage: b.outage + 1}
	case down:
		if b.failures == 0 {
			b.since = now
		}
		b.failures++
		enough := b.failures >= breakerThreshold || b.failures >= breakerFew && now.Sub(b.since) >= breakerSpan
		if probe || !b.open && enough {
			b.open, b.probeAt = true, now.Add(probeEvery)
		}
	}
}

// condition is what an attempt tells about its destination.
type condition uint8

const (
	// unknown: the attempt was cut off, or never got as far.
	unknown condition = iota
	// up: it answered, if only to refuse this message.
	up
	// busy: it answered that it has too much to do.
	busy
	// down: it did not answer, or a proxy in front of it said so.
	down
)

// conditionOf tells a destination that is down from one that refuses a message.
func conditionOf(r Result) condition {
	switch r.Outcome {
	case store.Succeeded:
		return up
	case store.Unreachable, store.TimedOut, store.Broken:
		return down
	case store.Refused:
		switch r.Status {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return down
		case http.StatusTooManyRequests:
			return busy
		}
		return up
	}
	return unknown
}
