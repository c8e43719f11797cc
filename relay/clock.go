// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"time"
)

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

// timer returns a channel that is closed once d has passed, and what ends the timer
// before that.
func timer(clock Clock, d time.Duration) (over <-chan struct{}, stop func() bool) {
	passed := make(chan struct{})
	return passed, clock.AfterFunc(d, func() { close(passed) })
}

// wait lets time pass and reports whether ctx has not ended meanwhile.
func wait(ctx context.Context, clock Clock, d time.Duration) bool {
	over, stop := timer(clock, d)
	defer stop()
	select {
	case <-over:
		return true
	case <-ctx.Done():
		return false
	}
}
