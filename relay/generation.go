// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// Generation is what one configuration asks of an engine. The generation that
// was attached last is in force, as a whole and at once.
type Generation struct {
	// Destinations are where deliveries go, by unique id. Deliveries to other
	// destinations stay where they are.
	Destinations []Destination

	// Retention is how long a message stays after its last delivery ended, if none
	// is open or dead; 0 means for ever.
	Retention time.Duration

	// RetentionDead is the same for messages with a dead delivery; 0 means for
	// ever.
	RetentionDead time.Duration

	// DedupeWindow is the longest dedupe window of any source.
	DedupeWindow time.Duration

	// MaxBuffer bounds the memory for bodies, in bytes: once for those of messages
	// that are new, and once for those that are read from the store to be sent.
	MaxBuffer int64

	// ShedLast says that the sender of some source never sends again by itself. A
	// part of the memory for bodies is kept for such senders then.
	ShedLast bool

	// Backlogs bound what sources may have waiting, one by one. Others have no bound.
	Backlogs []BacklogLimit

	// Disk says how much of its disk the store may use.
	Disk DiskLimits

	// Failed, where it is set, is called once for each failure of the store, before
	// the store is opened again. It may end the process.
	Failed func(err error)
}
