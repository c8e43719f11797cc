// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"net/http"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// breakerThreshold is how many attempts in a row must find a destination down
	// before its breaker opens.
	breakerThreshold = 10

	// probeEvery is how often a destination whose breaker is open is tried.
	probeEvery = 5 * time.Second
)

// breaker keeps deliveries from a destination that is down: while it is open,
// one attempt at a time probes the destination, and the time until it closes
// costs no delivery an attempt.
type breaker struct {
	failures int
	open     bool
	probing  bool
	probeAt  time.Time
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

// ended takes in what an attempt found.
func (b *breaker) ended(now time.Time, probe bool, found condition) {
	if probe {
		b.probing = false
	}
	switch found {
	case up:
		*b = breaker{}
	case down:
		b.failures++
		if probe || !b.open && b.failures >= breakerThreshold {
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
		}
		return up
	}
	return unknown
}
