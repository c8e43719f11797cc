// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// RateLimit bounds how many attempts are started within any span of time as long
// as Window. The zero value bounds nothing.
type RateLimit struct {
	// Events is how many attempts may be started.
	Events int

	// Window is the length of the span.
	Window time.Duration
}

// bounds reports whether there is a limit.
func (l RateLimit) bounds() bool { return l.Events > 0 && l.Window > 0 }

// rateParts is into how many parts a window is divided. Attempts that are
// started within one part count from the last of them, so that a window of any
// number of attempts takes little memory.
const rateParts = 1024

// rate keeps a destination within its RateLimit. It remembers what was started
// within the window that ends now, so it holds for every window, wherever it
// begins; a bucket of tokens would let twice as many through in some.
//
// What was started before the limit was known, by a former process too, it does
// not remember. So it begins as if attempts had been started evenly, all but one:
// within the first window others are let through evenly too.
type rate struct {
	limit  RateLimit
	starts []starts // oldest first, from head
	head   int
	total  int // the attempts in starts
}

// starts are attempts that were started within one part of a window.
type starts struct {
	first, last time.Time
	count       int
}

// set puts a limit in force.
func (r *rate) set(now time.Time, limit RateLimit) {
	if limit == r.limit {
		return
	}
	*r = rate{limit: limit}
	if !limit.bounds() {
		return
	}
	before := limit.Events - 1
	parts := min(before, rateParts)
	for i := range parts {
		ago := limit.Window / time.Duration(parts+1) * time.Duration(parts-i)
		at := now.Add(-ago)
		count := before*(i+1)/parts - before*i/parts
		r.starts = append(r.starts, starts{first: at, last: at, count: count})
	}
	r.total = before
}

// next returns when the next attempt may be started, now or later. Like all that
// follows it may only be called while there is a limit.
func (r *rate) next(now time.Time) time.Time {
	if r.expire(now); r.total < r.limit.Events {
		return now
	}
	return r.starts[r.head].last.Add(r.limit.Window)
}

// expire forgets what was started before the window that ends now.
func (r *rate) expire(now time.Time) {
	for r.head < len(r.starts) && !now.Before(r.starts[r.head].last.Add(r.limit.Window)) {
		r.total -= r.starts[r.head].count
		r.head++
	}
	if r.head > rateParts || r.head == len(r.starts) {
		r.starts = r.starts[:copy(r.starts, r.starts[r.head:])]
		r.head = 0
	}
}

// take counts an attempt that is started now.
func (r *rate) take(now time.Time) {
	r.total++
	if n := len(r.starts); n > r.head {
		if last := &r.starts[n-1]; now.Sub(last.first) < r.limit.Window/rateParts {
			last.last = now
			last.count++
			return
		}
	}
	r.starts = append(r.starts, starts{first: now, last: now, count: 1})
}

// ends returns when nothing that was started counts any more, zero if nothing
// does now.
func (r *rate) ends(now time.Time) time.Time {
	r.expire(now)
	if n := len(r.starts); n > r.head {
		return r.starts[n-1].last.Add(r.limit.Window)
	}
	return time.Time{}
}
