// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"
)

// Store keeps messages, deliveries, attempts, dedupe keys and entities.
//
// All methods may be called by any number of goroutines at once. None keeps a
// reference to what it was given after it has returned, and what it returns
// belongs to the caller. Writing methods do not obey the cancellation of their
// context once they have begun to commit: the outcome of a commit is always
// reported as it was. After ErrFailed every method but Close, Health and Caps
// returns an error that wraps ErrFailed.
//
// Deliveries of one destination that are accepted with the same OrderKey form a
// lane, in the order of their acceptance; those of one batch in its order. Only
// the first of a lane, its head, is due: all behind it are blocked, are pending
// with a zero DueAt, and can not be leased. A delivery leaves its lane in the
// commit that ends it, whichever method that is, and where it was the head the
// next one becomes its successor in the same commit: due at once, with its Since
// set anew. A dead delivery that is finished with Hold does not leave. It stays
// the head when it is re-driven, by whomever, and leaves when it is delivered,
// canceled or deleted, or dies without Hold.
//
// All else is outside the order and neither waits for a lane nor keeps one
// waiting: a dead delivery that has left its lane and is re-driven, and every
// replay. Whoever cancels or deletes a head that is leased, releases the next one
// while the holder of the lease may still be at it: that two attempts of one lane
// do not overlap then is up to the holders.
type Store interface {
	// Accept stores a batch of messages with their dedupe keys and deliveries in
	// one atomic and durable commit, and returns an answer for each in order. It
	// returns only when the commit is on stable storage, and so is every earlier
	// commit that a duplicate's answer rests on. On an error nothing of the batch
	// was accepted, unless the error wraps ErrFailed: then it is unknown.
	//
	// Of two acceptances with one key in one batch the later is the duplicate.
	Accept(ctx context.Context, batch []Acceptance) ([]Accepted, error)

	// Claim leases deliveries of one destination that are due and held by nobody,
	// and raises their epoch. It need not be durable: a claim that a crash undoes
	// leaves a delivery that can be claimed again.
	Claim(ctx context.Context, req ClaimRequest) (Claimed, error)

	// ClaimByID leases one delivery that is open and held by nobody for d, whether or
	// not it is due, and raises its epoch. Like Claim it need not be durable: a crash
	// leaves the delivery due when it was before. It returns ErrNotFound, or ErrState
	// where the delivery is not open, is held, or is blocked in its lane.
	ClaimByID(ctx context.Context, id DeliveryID, d time.Duration) (Delivery, error)

	// Extend moves the end of leases to d from now. It returns the leases that
	// were lost.
	Extend(ctx context.Context, leases []Lease, d time.Duration) (lost []Lease, err error)

	// Hasten makes up to limit deliveries of a destination that are waiting for a
	// later time due now, those that are due first first, and returns how many. They
	// stay waiting; leased ones are not touched. It need not be durable. A limit
	// below 1 is ErrInvalid.
	Hasten(ctx context.Context, destination string, limit int) (n int, err error)

	// Finish ends leases, each fenced by its epoch, in one atomic and durable
	// commit, and returns an answer for each in order.
	Finish(ctx context.Context, batch []Finish) ([]Finished, error)

	// Redrive makes a dead delivery pending under a new generation. It returns
	// ErrNotFound or ErrState.
	Redrive(ctx context.Context, id DeliveryID) (Delivery, error)

	// Replay makes a new pending delivery of a stored message to a destination,
	// which replays the last one it had there. It returns ErrNotFound.
	Replay(ctx context.Context, id MessageID, destination string) (Delivery, error)

	// Cancel ends an open delivery, fencing off whoever holds it, or a dead one that
	// holds its lane. It returns ErrNotFound or ErrState.
	Cancel(ctx context.Context, id DeliveryID) (Delivery, error)

	// Delete removes a message with its deliveries, open or not, and its attempts;
	// the dedupe key stays. It returns ErrNotFound.
	Delete(ctx context.Context, id MessageID) error

	// Operate carries out a batch of operations, one after the other, in one atomic
	// and durable commit, and returns an answer for each in order. One that can not be
	// carried out says so in its answer and changes nothing; the others are carried
	// out all the same. Others wait for the commit, so a batch is a few hundred.
	Operate(ctx context.Context, batch []Operation) ([]Operated, error)

	// Message returns a message. It returns ErrNotFound, or an error that wraps
	// ErrCorrupt.
	Message(ctx context.Context, id MessageID) (*Message, error)

	// Deliveries returns the deliveries of a message by number. It returns
	// ErrNotFound where the message is unknown.
	Deliveries(ctx context.Context, id MessageID) ([]Delivery, error)

	// Attempts returns the recorded attempts of a delivery, oldest first.
	Attempts(ctx context.Context, id DeliveryID) ([]Attempt, error)

	// ListMessages returns messages without their bodies, newest first.
	ListMessages(ctx context.Context, q MessageQuery) ([]Message, error)

	// ListDeliveries returns deliveries by id, oldest first.
	ListDeliveries(ctx context.Context, q DeliveryQuery) ([]Delivery, error)

	// Books returns the books of every destination that ever had a delivery. It never
	// blocks on the disk.
	Books(ctx context.Context) (map[string]Books, error)

	// Purge removes what has outlived its time, or more where space is short, the
	// oldest messages first. It never removes an open delivery, nor one that holds its
	// lane, nor its message.
	Purge(ctx context.Context, req PurgeRequest) (Purged, error)

	Keys

	Entities

	// Now returns the time by the store's clock, in UTC to the microsecond: the one
	// by which all times of deliveries are written and judged. It may differ from
	// the wall clock, whose steps it need not follow. It works after Close too.
	Now() time.Time

	// Age returns how much of the time since t, which is of the store's clock, counts
	// for the age at which something is given up. A store that can not tell how long it
	// was closed leaves out what its clock says of that. Like Now it works after Close
	// and never blocks.
	Age(t time.Time) time.Duration

	// Health tells how the store is. It never blocks on the disk.
	Health() Health

	// Caps tells what the store can do.
	Caps() Caps

	// Close ends the store's background work and gives its files or connections
	// back. Leases that it holds only in memory end with it.
	Close() error
}
