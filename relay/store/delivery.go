// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"time"
)

// State is where a delivery stands.
type State uint8

// The states of a delivery. Pending, Leased and Waiting are open; the others
// are final until an operator or a duplicate re-drives a dead one.
const (
	// Pending deliveries are due and held by nobody.
	Pending State = iota + 1
	// Leased deliveries are held by one dispatcher until their lease ends.
	Leased
	// Waiting deliveries have failed and become due again at DueAt.
	Waiting
	// Delivered deliveries were answered with a 2xx.
	Delivered
	// Dead deliveries have used up their retries.
	Dead
	// Canceled deliveries were ended by a named operator action.
	Canceled
)

var stateNames = [...]string{"", "pending", "leased", "waiting", "delivered", "dead", "canceled"}

// String returns the name of the state as it is shown everywhere.
func (s State) String() string {
	if s == 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state(%d)", uint8(s))
	}
	return stateNames[s]
}

// Open reports whether the delivery still has to reach a final state.
func (s State) Open() bool { return s == Pending || s == Leased || s == Waiting }

// Final reports whether the delivery has ended.
func (s State) Final() bool { return s == Delivered || s == Dead || s == Canceled }

// DeliveryID identifies a delivery: the N-th one of a message, counted from 1.
type DeliveryID struct {
	Message MessageID
	N       uint32
}

// String returns the id as message id, slash, number.
func (id DeliveryID) String() string { return fmt.Sprintf("%s/%d", id.Message, id.N) }

// Delivery is one message on its way to one destination.
type Delivery struct {
	ID DeliveryID

	// Destination is the id of the destination.
	Destination string

	// State is where the delivery stands.
	State State

	// DueAt is when the delivery may be tried, for open ones; zero for one that is
	// blocked in its lane.
	DueAt time.Time

	// CreatedAt is when the delivery was made.
	CreatedAt time.Time

	// Since is when the present generation began, or when the delivery came to the
	// head of its lane if that was later; the give-up time of a retry policy counts
	// from here.
	Since time.Time

	// EndedAt is when the delivery reached its final state, zero while it is open.
	EndedAt time.Time

	// Attempts counts all attempts recorded for the delivery, over all
	// generations. The next attempt has this number plus one.
	Attempts uint32

	// Tries counts the attempts of the present generation that the retry policy
	// counts.
	Tries uint32

	// Generation is 0 at first and grows by one with every re-drive. A replay
	// makes a new delivery whose generation is one more than the largest one that
	// the message has for the destination.
	Generation uint32

	// ReplayOf is the number of the delivery that this one replays, 0 for none.
	ReplayOf uint32

	// OrderKey serialises deliveries of one destination that share it; empty for
	// unordered ones.
	OrderKey string

	// Place is the delivery's place in the lane of its OrderKey, which grows with
	// every delivery that joins a lane. It is 0 for a delivery that is in no lane.
	Place uint64

	// Epoch is the fencing number of the last lease; it grows with every lease.
	Epoch uint64

	// LeaseUntil is when the lease ends unless it is extended, for leased ones.
	LeaseUntil time.Time

	// BodySize is the size of the message's body in bytes. It is 0 where the
	// delivery was stored before sizes were.
	BodySize int64

	// LastStatus is the HTTP status of the last attempt, 0 where none came.
	LastStatus int

	// LastError says why the last attempt failed, empty where it did not.
	LastError string
}

// Lease names the right to finish a delivery.
type Lease struct {
	Delivery DeliveryID
	Epoch    uint64
}

// Lease returns the lease under which d is held.
func (d *Delivery) Lease() Lease { return Lease{Delivery: d.ID, Epoch: d.Epoch} }
