// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var windowChecks = []check{
	{"P4_lasts_from_the_first_acceptance", checkWindowLasts},
	{"P4_is_not_extended_by_duplicates", checkWindowNotExtended},
	{"P4_is_the_one_of_the_new_acceptance", checkWindowGiven},
	{"P4_is_not_shortened_by_a_clock_that_goes_back", checkWindowClockBack},
	{"P4_outlives_purge", checkWindowOutlivesPurge},
	{"P4_holds_across_many_days", checkWindowDays},
}

// expire moves the clock until a key that was first accepted at the given time
// has surely expired, exactly or a day later as the store can.
func (x *fixture) expire(accepted time.Time, window time.Duration) {
	late := time.Millisecond
	if !x.store.Caps().ExactExpiry {
		late += grace
	}
	x.clock.advance(accepted.Add(window + late).Sub(x.clock.Now()))
}

func checkWindowLasts(x *fixture) {
	o := x.original("k", []string{"a"}, store.Delivered)
	x.clock.advance(o.AcceptedAt.Add(window - time.Millisecond).Sub(x.clock.Now()))
	x.repeat("k", false, o, store.DuplicateDelivered)
	x.expire(o.AcceptedAt, window)
	again := x.keyed("k", "a")
	answer := x.accept(again)
	same(x, "verdict", answer.Verdict, store.Fresh)
	same(x, "message", answer.Message, again.Message.ID)
	x.clock.advance(time.Hour)
	x.repeat("k", false, answer, store.DuplicateOpen)
	same(x, "number of deliveries of the first", len(x.deliveries(o.Message)), 1)
}

func checkWindowNotExtended(x *fixture) {
	o := x.original("k", []string{"a"}, store.Delivered)
	for range 6 {
		x.clock.advance(24 * time.Hour)
		x.repeat("k", false, o, store.DuplicateDelivered)
	}
	x.expire(o.AcceptedAt, window)
	same(x, "verdict", x.accept(x.keyed("k", "a")).Verdict, store.Fresh)
}

func checkWindowGiven(x *fixture) {
	o := x.original("k", []string{"a"}, store.Delivered)
	x.clock.advance(3 * 24 * time.Hour)
	shorter := x.keyed("k", "a")
	shorter.Window = 24 * time.Hour
	longer := x.keyed("k", "a")
	longer.Window = 30 * 24 * time.Hour
	same(x, "verdict under a longer window", x.accept(longer).Verdict, store.DuplicateDelivered)
	same(x, "message", x.accept(longer).Message, o.Message)
	same(x, "verdict under a shorter window", x.accept(shorter).Verdict, store.Fresh)
}

func checkWindowClockBack(x *fixture) {
	o := x.original("k", []string{"a"}, store.Delivered)
	x.clock.advance(-48 * time.Hour)
	x.repeat("k", false, o, store.DuplicateDelivered)
	x.clock.advance(48*time.Hour + window/2)
	x.repeat("k", false, o, store.DuplicateDelivered)
}

func checkWindowOutlivesPurge(x *fixture) {
	o := x.original("k", []string{"a"}, store.Delivered)
	for range 6 {
		x.clock.advance(24 * time.Hour)
		if _, err := x.store.Purge(x.Context(), store.PurgeRequest{Finished: time.Hour, DedupeWindow: window}); err != nil {
			x.Fatalf("Purge: %v", err)
		}
		x.repeat("k", false, o, store.DuplicatePurged)
	}
	x.expire(o.AcceptedAt, window)
	if _, err := x.store.Purge(x.Context(), store.PurgeRequest{Finished: time.Hour, DedupeWindow: window}); err != nil {
		x.Fatalf("Purge: %v", err)
	}
	answer := x.accept(x.keyed("k", "a"))
	same(x, "verdict", answer.Verdict, store.Fresh)
	x.repeat("k", false, answer, store.DuplicateOpen)
}

func checkWindowDays(x *fixture) {
	days := []string{"k0", "k1", "k2", "k3", "k4", "k5", "k6"}
	originals := make(map[string]store.Accepted)
	for _, key := range days {
		originals[key] = x.accept(x.keyed(key, "a"))
		x.clock.advance(23 * time.Hour)
	}
	for _, key := range days {
		x.repeat(key, false, originals[key], store.DuplicateOpen)
	}
	x.expire(originals["k2"].AcceptedAt, window)
	for i, key := range days {
		if i <= 2 {
			same(x, "verdict on "+key, x.accept(x.keyed(key, "a")).Verdict, store.Fresh)
		} else if x.clock.Now().Before(originals[key].AcceptedAt.Add(window)) {
			x.repeat(key, false, originals[key], store.DuplicateOpen)
		}
	}
}
