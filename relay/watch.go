// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// clockSlack is how late a timer may fire before the clock is taken to have been
// set forward.
const clockSlack = time.Second

// watch makes a steady time of a clock that may be set back or forward. One that
// is read with a monotonic reading, as the operating system's is, never steps.
//
// After a step back time goes on from where it was, since else everything that
// waits would wait so much longer. A step forward only makes due sooner what
// waits; but no rate may be exceeded by it, so that rates go by a time of their
// own, for which nothing has passed when the clock shows a later time than the
// timer was set for and it has not fired.
type watch struct {
	// latest is the newest time there was, behind what the clock is behind it.
	latest time.Time
	behind time.Duration

	// leapt is what the clock has leapt over.
	leapt time.Duration
}

// steady returns the time that it is when the clock shows now. A timer was set
// for armed, zero for none, and has fired or not.
func (w *watch) steady(now, armed time.Time, fired bool) time.Time {
	if w.behind != 0 {
		now = now.Add(w.behind)
	}
	least := w.latest
	if fired && armed.After(least) {
		least = armed
	}
	if now.Before(least) {
		if least.After(w.latest) {
			// So much had passed before a step back that was seen too late. What was
			// started since is on record for a time before that.
			w.leapt += least.Sub(latest(now, w.latest))
		}
		w.behind += least.Sub(now)
		now = least
	}
	if !armed.IsZero() && now.Sub(armed) > clockSlack && now.Sub(w.latest) > clockSlack {
		w.leapt += now.Sub(least)
	}
	w.latest = now
	return now
}

// latest returns the later of two times.
func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// after returns the time that is d after t, zero if t is.
func after(t time.Time, d time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(d)
}
