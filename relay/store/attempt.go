// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"time"
)

// Outcome is how an attempt ended.
type Outcome uint8

// The outcomes of an attempt.
const (
	// Succeeded attempts were answered with a 2xx.
	Succeeded Outcome = iota + 1
	// Refused attempts were answered with another status.
	Refused
	// Unreachable attempts got no answer at all: no connection, or an error while
	// the request was sent.
	Unreachable
	// TimedOut attempts did not end within their time.
	TimedOut
	// Broken attempts got an answer that ended before it was whole.
	Broken
	// Unhandled attempts ran through a forward in which nothing answers, which is
	// a mistake in the configuration.
	Unhandled
	// Aborted attempts were cut off by a shutdown.
	Aborted
	// Quarantined attempts were never sent because the stored body is not the one
	// that was accepted.
	Quarantined
	// Poisoned attempts were never made: the process has died in those before, when
	// nothing else was under way.
	Poisoned
)

var outcomeNames = [...]string{"", "succeeded", "refused", "unreachable", "timed_out", "broken", "unhandled", "aborted", "quarantined", "poison"}

// String returns the name of the outcome as it is shown everywhere.
func (o Outcome) String() string {
	if o == 0 || int(o) >= len(outcomeNames) {
		return fmt.Sprintf("outcome(%d)", uint8(o))
	}
	return outcomeNames[o]
}

// Counted reports whether an attempt with this outcome is one that the retry
// policy counts. Mistakes in the configuration and our own shutdown are not the
// destination's fault.
func (o Outcome) Counted() bool { return o != Unhandled && o != Aborted }

// Attempt is one try of a delivery.
type Attempt struct {
	// Number counts the attempts of the delivery from 1.
	Number uint32

	// StartedAt is when the attempt began.
	StartedAt time.Time

	// Duration is how long it took.
	Duration time.Duration

	// Outcome is how it ended.
	Outcome Outcome

	// Status is the HTTP status of the answer, 0 where none came.
	Status int

	// Error says why the attempt failed, empty where it did not.
	Error string

	// Head is the first bytes of the answer's body.
	Head []byte

	// Superseded says that the lease had been lost when the attempt was recorded,
	// so that it changed nothing.
	Superseded bool
}
