// SPDX-License-Identifier: Apache-2.0

package store

// MaxOrderKey bounds an OrderKey, in bytes. A longer one is ErrInvalid.
const MaxOrderKey = 1024

// Blocked reports whether an open delivery has to wait until those before it in
// its lane have left. Such a delivery is pending and not due.
func (d *Delivery) Blocked() bool { return d.State == Pending && d.Place != 0 && d.DueAt.IsZero() }

// Holds reports whether a dead delivery keeps its lane closed until it is
// re-driven and delivered, canceled or deleted.
func (d *Delivery) Holds() bool { return d.State == Dead && d.Place != 0 }

// Leaves reports whether the delivery leaves its lane by this finish, if it is in
// one.
func (f *Finish) Leaves() bool { return f.State.Final() && (f.State != Dead || !f.Hold) }
