// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestClockIsSuspectedWhenMostRequestsAreOutOfTheirTime(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var c clockWatch
	for range 1000 {
		c.timely(now)
	}
	for i := range clockLeast - 1 {
		if suspect, _ := c.stale(now); suspect {
			t.Fatalf("suspected after %d", i+1)
		}
	}
	if c.timely(now) {
		t.Error("what was not suspected has ended")
	}
	if suspect, began := c.stale(now); !suspect || !began || !c.suspected(now) {
		t.Errorf("not suspected after %d", clockLeast)
	}
	if suspect, began := c.stale(now); !suspect || began {
		t.Error("it begins again")
	}
	for range clockLeast - 1 {
		c.stale(now.Add(time.Minute))
	}
	ended := 0
	for range 20 {
		if c.timely(now.Add(2 * time.Minute)) {
			ended++
		}
	}
	if ended != 1 || c.suspected(now.Add(2*time.Minute)) {
		t.Errorf("ended %d times when half were in time", ended)
	}
}

func TestClockIsNotSuspectedForEver(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var c clockWatch
	for range clockLeast {
		c.stale(now)
	}
	if !c.suspected(now.Add(clockMinutes*time.Minute - time.Second)) {
		t.Error("forgotten too early")
	}
	if c.suspected(now.Add(clockMinutes * time.Minute)) {
		t.Error("suspected without any request")
	}
	later := now.Add(clockMinutes * time.Minute)
	if !c.timely(later) || c.watching.Load() {
		t.Error("the first request in time does not end it")
	}
	if suspect, _ := c.stale(later); suspect {
		t.Error("one is enough after that")
	}
}

func TestClockWatchAgreesWithAListOfAllRequests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type seen struct {
			minute int
			stale  bool
		}
		var c clockWatch
		var all []seen
		begun := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		minute, counting := 0, -1
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			minute += rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 2, 7}).Draw(t, "pause")
			stale := rapid.IntRange(0, 2).Draw(t, "stale") > 0
			at := begun.Add(time.Duration(minute) * time.Minute)
			if stale {
				if counting < 0 {
					counting = len(all)
				}
				c.stale(at)
			} else {
				c.timely(at)
			}
			all = append(all, seen{minute, stale})
			var timely, staleOnes int
			if counting >= 0 {
				for _, s := range all[counting:] {
					if minute-s.minute < clockMinutes && s.stale {
						staleOnes++
					} else if minute-s.minute < clockMinutes {
						timely++
					}
				}
				if staleOnes == 0 {
					counting = -1
				}
			}
			if want := mostly(staleOnes, timely); c.suspected(at) != want {
				t.Fatalf("suspected: %v, with %d and %d in time", c.suspected(at), staleOnes, timely)
			}
		}
	})
}

func TestWrongClockIs503AndTold(t *testing.T) {
	h, r := relayOf(t, newUpstream(t, nil))
	late := time.Now().Add(time.Hour)
	h.now = func() time.Time { return late }
	before := counted(metrics.rejected.WithLabelValues("in", "clock_suspect"))
	for i := range clockLeast + 5 {
		w := serve(t, h, signed("/in", fmt.Sprintf(`{"id":"evt_%d"}`, i)))
		want := http.StatusBadRequest
		if i >= clockLeast-1 {
			want = http.StatusServiceUnavailable
		}
		if w.Code != want || (w.Header().Get("Retry-After") != "") != (want == 503) {
			t.Fatalf("request %d is answered with %d, %v", i, w.Code, w.Header())
		}
	}
	if !logged("most requests with a good signature are out of their time") {
		t.Error("the operator is not told")
	}
	if n := counted(metrics.rejected.WithLabelValues("in", "clock_suspect")) - before; n != 6 {
		t.Errorf("%g are counted", n)
	}
	if list := r.app.engine.suspectClocks(late); len(list) != 1 || list[0] != (clockKey{"in", "stripe"}) {
		t.Errorf("suspected: %v", list)
	}
	if w := serve(t, h, stripe(post("/in", "{}"), "{}", "wrong", late)); w.Code != http.StatusUnauthorized {
		t.Errorf("a forged request gets %d", w.Code)
	}
	h.now = time.Now
	for i := range 2 * clockLeast {
		if w := serve(t, h, signed("/in", fmt.Sprintf(`{"id":"evt_again_%d"}`, i))); w.Code != http.StatusOK {
			t.Fatalf("with a right clock it gets %d", w.Code)
		}
	}
	if !logged("requests are in their time again") {
		t.Error("the end is not told")
	}
	old := stripe(post("/in", "{}"), "{}", stripeSecret, time.Now().Add(-time.Hour))
	if w := serve(t, h, old); w.Code != http.StatusBadRequest {
		t.Errorf("one that is late gets %d", w.Code)
	}
}
