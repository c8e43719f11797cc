// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// Clock tells the time and wakes the engine.
type Clock interface {
	// Now returns the present time.
	Now() time.Time

	// AfterFunc calls f in its own goroutine once d has passed. The function that
	// it returns stops that, if it has not happened yet.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// SystemClock returns the clock of the operating system.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}
