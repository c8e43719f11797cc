// SPDX-License-Identifier: Apache-2.0

package store

// Operation is one change that an operator has asked for.
type Operation struct {
	// Action is what to do. ActionRedrive, ActionReplay and ActionCancel are as the
	// methods of Store of these names. ActionDelete is as Delete, but of a message
	// that has an open delivery, or one that can not be read, it is ErrState.
	Action JobAction

	// Delivery is what to do it to. A replay and a delete are about its message.
	Delivery DeliveryID

	// To is the destination of a replay.
	To string
}

// Operated is a store's answer to one Operation.
type Operated struct {
	// Delivery is the delivery as it stands now, or the one that was made. It is
	// zero for a delete and where nothing was changed.
	Delivery Delivery

	// Err says why nothing was changed: it wraps ErrNotFound, ErrState, ErrCorrupt or
	// ErrInvalid.
	Err error
}
