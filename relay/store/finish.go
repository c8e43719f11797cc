// SPDX-License-Identifier: Apache-2.0

package store

import "time"

// ClaimRequest asks for deliveries of one destination that are due.
type ClaimRequest struct {
	// Destination is the id of the destination.
	Destination string

	// Limit is how many deliveries to lease at most; at least 1.
	Limit int

	// Lease is how long the leases last unless they are extended.
	Lease time.Duration
}

// Claimed is a store's answer to a ClaimRequest.
type Claimed struct {
	// Deliveries are now leased to the caller, earliest due first, then by id.
	Deliveries []Delivery

	// More says that further deliveries were due when the limit was reached.
	More bool

	// Next is when the next delivery that is not held by anybody becomes due, zero
	// where there is none. It is only set when More is false. A delivery whose
	// lease runs out counts as due at the end of its lease.
	Next time.Time
}

// Finish ends a lease.
type Finish struct {
	// Lease is the lease to end.
	Lease Lease

	// State is the state to go to: Delivered, Dead, Canceled, Waiting, or Pending
	// to give the delivery back as it was.
	State State

	// Hold keeps the lane of an ordered delivery closed where State is Dead.
	Hold bool

	// Delay is how long a waiting delivery waits, counted from now by the store's
	// clock.
	Delay time.Duration

	// Attempt is the attempt to record, nil for none. Its number is set by the
	// store.
	Attempt *Attempt

	// Callbacks are messages that this transition triggers. They are accepted in
	// the same commit, or not at all where the lease was lost.
	Callbacks []Acceptance
}

// Finished is a store's answer to one Finish.
type Finished struct {
	// Delivery is the delivery as it stands now.
	Delivery Delivery

	// Released says that the delivery behind this one in its lane is due now.
	Released bool

	// Callbacks answer the callbacks of the Finish, in their order.
	Callbacks []Accepted

	// Err is ErrLeaseLost or ErrNotFound where the transition did not happen. An
	// attempt is recorded as superseded then, if the delivery still exists.
	Err error
}

// PurgeRequest says what a purge may remove. A duration of zero keeps that kind
// for ever.
type PurgeRequest struct {
	// Finished is how long a message stays after its last delivery ended, if none
	// of its deliveries is open or dead.
	Finished time.Duration

	// Dead is the same for messages with a dead and no open delivery.
	Dead time.Duration

	// DedupeWindow is the longest dedupe window in use. Keys younger than it are
	// never removed; older ones may be.
	DedupeWindow time.Duration

	// Limit bounds how many messages one call removes; 0 means no bound.
	Limit int

	// Excess, when positive, is how many bytes are to be removed whatever their age:
	// messages none of whose deliveries is open or dead, until the bodies of all that
	// the call has removed come to as many. The call then returns when their space
	// has been given back to the disk, as far as it can be.
	Excess int64
}

// Purged says what a purge removed.
type Purged struct {
	// Messages is the number of messages that were removed with their deliveries
	// and attempts.
	Messages int

	// Bytes is the size of their bodies.
	Bytes int64

	// More says that the limit was reached.
	More bool
}
