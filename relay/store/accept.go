// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"time"
)

// DedupeKey is the identity of an event, hashed together with its source. The
// zero value means that the message has no identity and is never a duplicate.
type DedupeKey [16]byte

// IsZero reports whether the key stands for no identity.
func (k DedupeKey) IsZero() bool { return k == DedupeKey{} }

// Acceptance asks a store to accept one message.
type Acceptance struct {
	// Message is what to accept. Its id must be new.
	Message *Message

	// Key is the dedupe key, zero for none.
	Key DedupeKey

	// Window is how long the key is kept, counted from the first acceptance.
	Window time.Duration

	// Redeliver says that a duplicate of a message whose deliveries have all ended
	// and none is dead is delivered again.
	Redeliver bool

	// Deliveries are the deliveries to make, in the order of their numbers.
	Deliveries []NewDelivery
}

// NewDelivery asks for a delivery of a message that is being accepted.
type NewDelivery struct {
	// Destination is the id of the destination.
	Destination string

	// OrderKey is the key of order_by, empty for unordered deliveries. The delivery
	// joins the lane of its destination and this key. At most MaxOrderKey bytes.
	OrderKey string

	// Lease, when positive, makes the delivery leased to the caller from the
	// start, for that long; else it is pending. It is not granted to a delivery
	// that is blocked in its lane.
	Lease time.Duration
}

// Verdict is what became of a message that a store was asked to accept.
type Verdict uint8

// The verdicts on an Acceptance.
const (
	// Fresh messages were stored.
	Fresh Verdict = iota + 1
	// DuplicateOpen says that the key belongs to a message with an open delivery;
	// nothing was changed.
	DuplicateOpen
	// DuplicateDelivered says that the key belongs to a message whose deliveries
	// have all ended and none is dead; nothing was changed.
	DuplicateDelivered
	// DuplicateRedelivered is DuplicateDelivered with Redeliver set: each of its
	// destinations got a new delivery that replays its last one.
	DuplicateRedelivered
	// DuplicateRedriven says that the key belongs to a message with no open and at
	// least one dead delivery; its dead deliveries were re-driven.
	DuplicateRedriven
	// DuplicatePurged says that the key is known but its message has been purged;
	// nothing was changed.
	DuplicatePurged
)

var verdictNames = [...]string{"", "fresh", "duplicate_open", "duplicate_delivered", "duplicate_redelivered", "duplicate_redriven", "duplicate_purged"}

// String returns the name of the verdict as it is shown everywhere.
func (v Verdict) String() string {
	if v == 0 || int(v) >= len(verdictNames) {
		return fmt.Sprintf("verdict(%d)", uint8(v))
	}
	return verdictNames[v]
}

// Accepted is a store's answer to one Acceptance.
type Accepted struct {
	// Verdict says what became of the message.
	Verdict Verdict

	// Message is the id of the message that holds the key: the given one when it
	// is fresh, else the original.
	Message MessageID

	// AcceptedAt is when that message was accepted.
	AcceptedAt time.Time

	// Deliveries are the deliveries that this acceptance made or re-drove. Those
	// of a duplicate are pending, whatever lease was asked for.
	Deliveries []Delivery
}
