// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"sync/atomic"
	"time"
)

// clock is a clock that stands still until it is moved.
type clock struct {
	micros atomic.Int64
}

// newClock returns a clock at a time that is even in no unit but the second, so
// that nothing passes by being rounded.
func newClock() *clock {
	c := new(clock)
	c.micros.Store(time.Date(2026, 3, 1, 11, 59, 37, 0, time.UTC).UnixMicro())
	return c
}

// Now returns the time of the clock.
func (c *clock) Now() time.Time { return time.UnixMicro(c.micros.Load()).UTC() }

// advance moves the clock, backwards where d is negative.
func (c *clock) advance(d time.Duration) { c.micros.Add(d.Microseconds()) }
