// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var hastenChecks = []check{
	{"moves_nothing_where_nothing_waits", checkHastenNothing},
	{"makes_what_waits_due_now", checkHastenDue},
	{"takes_the_earliest_due_first_up_to_the_limit", checkHastenLimit},
	{"finds_what_is_behind_a_claim", checkHastenBehind},
	{"refuses_a_limit_below_one", checkHastenInvalid},
}

func (x *fixture) hasten(destination string, limit int) int {
	x.Helper()
	n, err := x.store.Hasten(x.Context(), destination, limit)
	if err != nil {
		x.Fatalf("Hasten of %s: %v", destination, err)
	}
	return n
}

// waiting accepts a message with one delivery that waits for a while.
func (x *fixture) waiting(destination string, delay time.Duration) store.Delivery {
	x.Helper()
	d := x.leased(destination)
	return x.finish(store.Finish{Lease: d.Lease(), State: store.Waiting, Delay: delay}).Delivery
}

func checkHastenNothing(x *fixture) {
	same(x, "moved of an unknown destination", x.hasten("a", 10), 0)
	pending, leased := x.pending("a"), x.leased("a")
	x.ended("a", store.Dead)
	other := x.waiting("ab", time.Hour)
	due := x.waiting("a", time.Minute)
	x.clock.advance(time.Minute)
	same(x, "moved", x.hasten("a", 10), 0)
	for _, d := range []store.Delivery{pending, leased, other, due} {
		sameDelivery(x, "delivery", x.delivery(d.ID), d)
	}
}

func checkHastenDue(x *fixture) {
	d := x.waiting("a", time.Hour)
	before := x.books("a")
	x.clock.advance(time.Minute)
	same(x, "claimed while it waits", len(x.claim("a", 10).Deliveries), 0)
	same(x, "moved", x.hasten("a", 10), 1)
	same(x, "books", x.books("a"), before)
	want := d
	want.DueAt = x.clock.Now()
	sameDelivery(x, "hastened delivery", x.delivery(d.ID), want)
	same(x, "moved again", x.hasten("a", 10), 0)
	c := x.claimOne("a")
	want.State, want.Epoch, want.LeaseUntil = store.Leased, c.Epoch, x.clock.Now().Add(lease)
	sameDelivery(x, "claimed delivery", c, want)
	x.finish(store.Finish{Lease: c.Lease(), State: store.Delivered})
	x.clock.advance(2 * time.Hour)
	same(x, "claimed when it had been due", len(x.claim("a", 10).Deliveries), 0)
}

func checkHastenLimit(x *fixture) {
	late, early, middle := x.waiting("a", 3*time.Hour), x.waiting("a", time.Hour), x.waiting("a", 2*time.Hour)
	same(x, "moved", x.hasten("a", 2), 2)
	c := x.claim("a", 10)
	same(x, "number of claimed", len(c.Deliveries), 2)
	same(x, "next", instant(c.Next), x.clock.Now().Add(lease))
	for i, want := range []store.Delivery{early, middle} {
		same(x, "claimed", c.Deliveries[i].ID, want.ID)
	}
	same(x, "moved of the rest", x.hasten("a", 2), 1)
	same(x, "claimed of the rest", x.claimOne("a").ID, late.ID)
	same(x, "moved of nothing", x.hasten("a", 2), 0)
}

// checkHastenBehind hastens when claims have gone past the time of now already.
func checkHastenBehind(x *fixture) {
	first, second := x.waiting("a", time.Hour), x.waiting("a", 2*time.Hour)
	x.clock.advance(time.Minute)
	c := x.claim("a", 10)
	same(x, "next", instant(c.Next), instant(first.DueAt))
	leased := x.leased("a")
	same(x, "moved", x.hasten("a", 1), 1)
	same(x, "claimed", x.claimOne("a").ID, first.ID)
	c = x.claim("a", 10)
	same(x, "next after that", instant(c.Next), instant(leased.LeaseUntil))
	x.clock.advance(time.Minute)
	x.claim("a", 10)
	same(x, "moved", x.hasten("a", 10), 1)
	same(x, "claimed", x.claimOne("a").ID, second.ID)
}

func checkHastenInvalid(x *fixture) {
	for _, limit := range []int{0, -1} {
		_, err := x.store.Hasten(x.Context(), "a", limit)
		wants(x, "hastening with a limit below one", err, store.ErrInvalid)
	}
}
