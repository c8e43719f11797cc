// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Observer is told what happens, for metrics. Its methods are called on hot
// paths, by many goroutines at once, and must return at once.
type Observer interface {
	// Accepted is called for n messages of a source whose acceptance is durable, for
	// every message once, also when its sender was told otherwise because that came
	// after the deadline. It is called before the senders are told.
	Accepted(source string, v store.Verdict, n int)

	// Attempted is called after every attempt.
	Attempted(r AttemptReport)
}

// AttemptReport says how an attempt ended and what comes of it.
type AttemptReport struct {
	// Destination is the id of the destination.
	Destination string

	// Outcome and Status are how the attempt ended.
	Outcome store.Outcome
	Status  int

	// Duration is how long the attempt took.
	Duration time.Duration

	// Next is the state that the delivery goes to.
	Next store.State
}

// nopObserver is the observer of an engine that was given none.
type nopObserver struct{}

func (nopObserver) Accepted(string, store.Verdict, int) {}
func (nopObserver) Attempted(AttemptReport)             {}
