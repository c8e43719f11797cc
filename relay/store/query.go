// SPDX-License-Identifier: Apache-2.0

package store

import "time"

// MessageQuery selects messages. Zero fields do not select.
type MessageQuery struct {
	Source  string
	Type    string
	EventID string
	Tenant  string

	// From and To bound ReceivedAt: From is included, To is not.
	From time.Time
	To   time.Time

	// Before, when set, selects only messages with a smaller id: the id of the
	// last message of a page asks for the next one.
	Before MessageID

	// Limit is the size of a page; at least 1.
	Limit int
}

// DeliveryQuery selects deliveries. Zero fields do not select.
type DeliveryQuery struct {
	Destination string
	State       State

	// Open selects only deliveries that are pending, leased or waiting.
	Open bool

	// Source, Type and EventID are those of the message.
	Source  string
	Type    string
	EventID string

	// From and To bound the time in the message's id: From is included, To is not.
	From time.Time
	To   time.Time

	// After, when set, selects only deliveries with a larger id: the id of the last
	// delivery of a page asks for the next one.
	After DeliveryID

	// Limit is the size of a page; at least 1.
	Limit int

	// Ahead, when set, has the pages of this query cost what they contain. It is part
	// of no query that is stored.
	Ahead *Ahead
}

// Ahead is where a store keeps what it has found out for one page of a list and
// needs for the next. The zero value is for any query; from then on it belongs to
// that one, of which only After and Limit may change, and is used by one goroutine
// at a time. A page that is listed with it shows deliveries as they are by then. What
// has come to be selected since the first page may be left out.
type Ahead struct {
	// Known belongs to the store.
	Known any
}

// Books count the deliveries of one destination since the store was made. At
// any time Made = Delivered + Dead + Open + Canceled + Deleted.
type Books struct {
	// Made counts all deliveries ever made.
	Made uint64
	// Delivered, Dead and Canceled count those that are in that state or were when
	// they were purged.
	Delivered uint64
	Dead      uint64
	Canceled  uint64
	// Open counts those that are pending, leased or waiting.
	Open uint64
	// Deleted counts those that a named operator action removed.
	Deleted uint64
	// OpenBytes is the sum of the BodySize of those that are open.
	OpenBytes uint64
}

// Move takes a delivery with a body of that size from one state to another. The
// states 0 stand for a delivery that is not there: it is made, or deleted.
func (b *Books) Move(from, to State, size int64) {
	if count := b.counter(from); count != nil {
		*count--
	} else {
		b.Made++
	}
	if count := b.counter(to); count != nil {
		*count++
	} else {
		b.Deleted++
	}
	switch bytes := uint64(max(0, size)); {
	case to.Open() && !from.Open():
		b.OpenBytes += bytes
	case from.Open() && !to.Open():
		// Of a delivery that could not be read when the bytes were counted, they were not.
		b.OpenBytes -= min(bytes, b.OpenBytes)
	}
}

// counter returns what counts the deliveries in a state, nil for none.
func (b *Books) counter(state State) *uint64 {
	switch state {
	case 0:
		return nil
	case Delivered:
		return &b.Delivered
	case Dead:
		return &b.Dead
	case Canceled:
		return &b.Canceled
	default:
		return &b.Open
	}
}

// Balanced reports whether the books add up.
func (b Books) Balanced() bool {
	return b.Made == b.Delivered+b.Dead+b.Open+b.Canceled+b.Deleted
}

// Health is how a store is.
type Health struct {
	// Err is nil for a store that works, and wraps ErrFailed or ErrClosed for one
	// that does not.
	Err error

	// Location is where the data is, without any credentials.
	Location string

	// Durable says that a commit survives the loss of power as far as the disk
	// honours its flush.
	Durable bool

	// VolumeBytes is the size of the volume the store is on, 0 where the space can
	// not be told.
	VolumeBytes uint64

	// FreeBytes is the space left for the store, where VolumeBytes is not 0.
	FreeBytes uint64

	// UsedBytes is the space the store takes, without what it keeps in reserve, 0
	// where it can not be told.
	UsedBytes uint64

	// Full says that the store has met the end of its space and lives on what it had
	// in reserve, or waits. It is over by itself when there is space again.
	Full bool

	// Doubt says why what is committed may not last, empty where nothing speaks
	// against it: a file system that is gone with a container, or over a network.
	Doubt string

	// Unreadable is how many files of the store have rotted and keep their space until
	// all that is in them is removed. It is 0 where the store can not tell.
	Unreadable int
}

// Caps say what a store can do beyond the contract.
type Caps struct {
	// ExactExpiry says that a dedupe key ends with its window and not up to a day
	// later.
	ExactExpiry bool

	// Shared says that several processes may use the store at once. Leases then
	// outlive the process that holds them, and must be extended in time.
	Shared bool

	// Journal is the path of a file beside the store's own, in which its user may
	// note what it is doing. It is empty where the store has no place of its own on
	// this machine.
	Journal string
}
