// SPDX-License-Identifier: Apache-2.0

package relay

import "errors"

// All of these mean trouble of our own, for which a sender is asked to come
// back: none says anything about the message.
var (
	// ErrNotReady says that the engine has no open store: it has not started yet,
	// or its store has failed and could not be opened again so far.
	ErrNotReady = errors.New("relay is not ready")

	// ErrClosed says that the engine has been closed.
	ErrClosed = errors.New("relay is closed")

	// ErrOverloaded says that the queue of messages to be committed or the memory
	// for bodies is full.
	ErrOverloaded = errors.New("relay is overloaded")

	// ErrDiskFull says that there is too little space on the disk, or that the store
	// takes all that it may. It accepts again by itself when there is space.
	ErrDiskFull = errors.New("relay has no disk space: min_free or max_disk is reached")

	// ErrBacklog says that so much of the source waits to be delivered that no more
	// of it is taken. It is accepted again by itself when some of it is delivered.
	ErrBacklog = errors.New("backlog of the source is full")

	// ErrDeadline says that the commit did not end in time. It may still succeed;
	// the sender's retry will then be a duplicate.
	ErrDeadline = errors.New("accept deadline exceeded")
)

// ErrNoDestination says that a destination is not in force and never had a
// delivery, so that its name must be a mistake.
var ErrNoDestination = errors.New("no such destination")

// ErrTooManyJobs says that too many jobs have not ended.
var ErrTooManyJobs = errors.New("too many jobs: wait for one to end, or cancel one")

// errHung says that the store did not answer while the engine was closed.
var errHung = errors.New("the store does not answer")

// errShutdown is the cause with which attempts are canceled when the grace
// period is over.
var errShutdown = errors.New("relay is shutting down")

// errDropped tells those who wait for a request that passes that it got no 2xx.
var errDropped = errors.New("the request with this key got no 2xx")
