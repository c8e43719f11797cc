// SPDX-License-Identifier: Apache-2.0

package pebble

import "time"

// age tells when something stored has outlived its time.
//
// A clock that is far ahead when the store is opened, as before the first answer
// of a time server, would let it all outlive its time at once. So the time that
// has passed while nobody looked is not counted: what is older than the process
// ages from the newest time that was stored before it, by the time that the
// process has run. What the process stores ages by its own clock. After a month
// in which the machine was off, old things stay up to a month longer than they
// had to.
type age struct {
	opened time.Time // by the clock of this process
	seen   time.Time // the newest time stored before, at most opened
}

// newAge returns how things age that were stored before the store was opened, of
// which the newest was stored at seen.
func newAge(opened, seen time.Time) age {
	if seen.After(opened) {
		seen = opened
	}
	return age{opened: opened, seen: seen}
}

// outlived reports whether what is from the time at has been kept for long
// enough at now.
func (a age) outlived(at time.Time, keep time.Duration, now time.Time) bool {
	if at.Before(a.opened) {
		now = a.seen.Add(now.Sub(a.opened))
	}
	return !now.Before(at.Add(keep))
}

// loadAge finds the newest time that was stored: that of the newest message or
// the beginning of the newest bucket of dedupe keys.
func (s *Store) loadAge() {
	seen := s.newest.Time()
	if n := len(s.buckets); n > 0 {
		if begin := bucketTime(s.buckets[n-1]); begin.After(seen) {
			seen = begin
		}
	}
	s.age = newAge(s.now(), seen)
}
