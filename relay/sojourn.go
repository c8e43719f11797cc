// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

const (
	// sojournLimit is how long messages may have to wait for their commit before
	// new ones are refused.
	sojournLimit = 100 * time.Millisecond

	// sojournSpan is how long a queue must have stood above its limit by then.
	sojournSpan = 100 * time.Millisecond
)

// sojourn tells a queue that works off a burst from one that stands, as CoDel
// does: by the time that even the entry which waited least had to wait. A queue
// whose least sojourn stays above the limit for a span gets more than it can give,
// and every entry that is added makes all behind it later.
type sojourn struct {
	// limit is what the least sojourn may be.
	limit time.Duration

	// above is since when it has been more, zero while it is not.
	above time.Time

	// standing says that it has been more for a span.
	standing bool
}

// served notes that entries were taken out, the newest of which has waited that
// long, and whether others are left. A queue that was emptied does not stand,
// however long that took: what comes next waits for nobody else.
func (s *sojourn) served(now time.Time, waited time.Duration, left bool) {
	switch {
	case !left || waited <= s.limit:
		s.above, s.standing = time.Time{}, false
	case s.above.IsZero():
		s.above = now
	default:
		s.standing = now.Sub(s.above) >= sojournSpan
	}
}
