// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// senderPatience is how long a sender waits for a connection on which to send.
const senderPatience = time.Second

// arrivals are events that happen at a rate at their senders, whatever becomes of those before them. They are numbered
// from 0. One for which no connection is free waits for one, first come first served, and is given up when its sender
// loses patience: it was offered and not answered.
type arrivals struct {
	begun time.Time
	span  time.Duration
	rate  float64 // per second; 0 for one whenever a connection is free

	mu     sync.Mutex
	head   int // the first that has neither been taken nor given up
	waited int // how many were given up
}

// take returns the next arrival that somebody still waits for, and when it happens or has happened; or that there is no
// other.
func (a *arrivals) take() (n int, at time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Since(a.begun)
	if a.rate == 0 {
		n, a.head = a.head, a.head+1
		return n, a.begun.Add(now), now < a.span
	}
	if first := min(a.count(now-senderPatience), a.total()); first > a.head {
		a.waited += first - a.head
		a.head = first
	}
	if a.head >= a.total() {
		return 0, time.Time{}, false
	}
	n, a.head = a.head, a.head+1
	return n, a.begun.Add(time.Duration(float64(n) / a.rate * float64(time.Second))), true
}

// count returns how many have happened after so long.
func (a *arrivals) count(d time.Duration) int { return max(0, int(d.Seconds()*a.rate)) }

// total returns how many happen in all.
func (a *arrivals) total() int { return a.count(a.span) }

// givenUp returns how many nobody took in time, once there is no other.
func (a *arrivals) givenUp() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waited
}

func TestArrivalsHappenWhetherOrNotAnybodyTakesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &arrivals{begun: time.Now(), span: 10 * time.Second, rate: 100}
		taken, late := 0, time.Duration(0)
		for {
			_, at, ok := a.take()
			if !ok {
				break
			}
			time.Sleep(time.Until(at))
			late = max(late, time.Since(at))
			taken++
			time.Sleep(50 * time.Millisecond) // five of them happen meanwhile
		}
		if taken+a.givenUp() != 1000 {
			t.Errorf("%d taken and %d given up, want 1000 in all", taken, a.givenUp())
		}
		// One connection is free 20 times a second, until the last one has been given up.
		if taken < 200 || taken > 221 || late > senderPatience+50*time.Millisecond {
			t.Errorf("%d taken, the last of them after %s", taken, late)
		}
	})
}
