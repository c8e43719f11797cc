// SPDX-License-Identifier: Apache-2.0

package pebble

import "time"

// clock tells the time by which everything in the store is judged.
type clock func() time.Time

// newClock returns the given clock or, for nil, one that starts at the wall
// clock's time and then runs on monotonic time alone, so that a step of the wall
// clock neither ends a dedupe window early nor makes retries due at once.
func newClock(now func() time.Time) clock {
	if now != nil {
		return now
	}
	base := time.Now()
	return func() time.Time { return base.Add(time.Since(base)) }
}

// from returns a clock that shows t now, or the clock itself if that is not behind.
func (c clock) from(t time.Time) clock {
	behind := t.Sub(c.now())
	if behind <= 0 {
		return c
	}
	return func() time.Time { return c().Add(behind) }
}

// now returns the time as it is stored: in UTC, to the microsecond.
func (c clock) now() time.Time { return c().UTC().Truncate(time.Microsecond) }

// timer returns the time t, seen from now, with a reading of the monotonic clock
// if the clock has one: a caller that waits until then is not misled by a step
// of the wall clock either.
func (c clock) timer(t time.Time) time.Time {
	now := c().UTC()
	return now.Add(t.Sub(now))
}
