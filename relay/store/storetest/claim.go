// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var claimChecks = []check{
	{"leases_what_is_due", checkClaimLeases},
	{"takes_the_earliest_due_first_then_by_id", checkClaimOrder},
	{"stops_at_the_limit_and_says_more", checkClaimLimit},
	{"waits_for_due_deliveries_and_tells_when", checkClaimNext},
	{"keeps_destinations_apart", checkClaimDestinations},
	{"takes_no_delivery_that_has_ended", checkClaimFinal},
	{"refuses_a_limit_below_one", checkClaimInvalid},
	{"takes_a_backlog_in_pages", checkClaimBacklog},
}

func checkClaimLeases(x *fixture) {
	d := x.pending("a")
	x.clock.advance(time.Minute)
	c := x.claim("a", 10)
	same(x, "number of claimed", len(c.Deliveries), 1)
	want := d
	want.State = store.Leased
	want.Epoch = c.Deliveries[0].Epoch
	want.LeaseUntil = x.clock.Now().Add(lease)
	sameDelivery(x, "claimed delivery", c.Deliveries[0], want)
	sameDelivery(x, "stored delivery", x.delivery(d.ID), want)
	if want.Epoch <= d.Epoch {
		x.Fatalf("epoch %d after the claim is not above %d", want.Epoch, d.Epoch)
	}
	same(x, "claimed again", len(x.claim("a", 10).Deliveries), 0)
	same(x, "books", x.books("a"), store.Books{Made: 1, Open: 1})
}

func checkClaimOrder(x *fixture) {
	first := x.leased("a")
	second := x.leased("a")
	third := x.leased("a")
	x.finish(store.Finish{Lease: first.Lease(), State: store.Waiting, Delay: 3 * time.Minute})
	x.finish(store.Finish{Lease: second.Lease(), State: store.Waiting, Delay: 2 * time.Minute})
	x.finish(store.Finish{Lease: third.Lease(), State: store.Waiting, Delay: 2 * time.Minute})
	x.clock.advance(time.Minute)
	late := x.accept(x.acceptance("a", "a")).Deliveries
	x.clock.advance(2 * time.Minute)
	var got []store.DeliveryID
	for range 5 {
		c := x.claim("a", 1)
		if len(c.Deliveries) != 1 {
			x.Fatalf("claimed %d deliveries, want 1", len(c.Deliveries))
		}
		got = append(got, c.Deliveries[0].ID)
	}
	same(x, "order", got, []store.DeliveryID{late[0].ID, late[1].ID, second.ID, third.ID, first.ID})
}

func checkClaimLimit(x *fixture) {
	for range 5 {
		x.accept(x.acceptance("a"))
	}
	for _, want := range []struct {
		limit, number int
		more          bool
	}{{2, 2, true}, {2, 2, true}, {1, 1, false}, {2, 0, false}} {
		c := x.claim("a", want.limit)
		same(x, "number of claimed", len(c.Deliveries), want.number)
		same(x, "more", c.More, want.more)
		if c.More && !c.Next.IsZero() {
			x.Fatalf("Next is set to %v beside More", c.Next)
		}
	}
}

func checkClaimNext(x *fixture) {
	if c := x.claim("a", 1); c.More || !c.Next.IsZero() || len(c.Deliveries) != 0 {
		x.Fatalf("claim of nothing is %+v", c)
	}
	now := x.clock.Now()
	for _, delay := range []time.Duration{20 * time.Second, 10 * time.Second} {
		d := x.leased("a")
		x.finish(store.Finish{Lease: d.Lease(), State: store.Waiting, Delay: delay})
	}
	c := x.claim("a", 10)
	same(x, "claimed before any is due", len(c.Deliveries), 0)
	same(x, "next", instant(c.Next), now.Add(10*time.Second))
	x.clock.advance(10*time.Second - time.Millisecond)
	same(x, "claimed a moment early", len(x.claim("a", 10).Deliveries), 0)
	x.clock.advance(time.Millisecond)
	c = x.claim("a", 10)
	same(x, "claimed when the first is due", len(c.Deliveries), 1)
	same(x, "next", instant(c.Next), now.Add(20*time.Second))
	x.finish(store.Finish{Lease: c.Deliveries[0].Lease(), State: store.Delivered})
	x.clock.advance(time.Hour)
	c = x.claim("a", 10)
	same(x, "claimed when both are due", len(c.Deliveries), 1)
	same(x, "next is the end of the lease", instant(c.Next), x.clock.Now().Add(lease))
	x.finish(store.Finish{Lease: c.Deliveries[0].Lease(), State: store.Dead})
	c = x.claim("a", 10)
	same(x, "next when all have ended", c.Next, time.Time{})
}

// foreignNames are names that an encoding without lengths would mix up.
var foreignNames = []string{"a", "ab", "b", "a/b", "a\x00", "a\x00b", "A", "ä", "a\xff"}

func checkClaimDestinations(x *fixture) {
	for _, name := range foreignNames {
		x.accept(x.acceptance(name))
	}
	for _, name := range foreignNames {
		same(x, fmt.Sprintf("books of %q", name), x.books(name), store.Books{Made: 1, Open: 1})
		c := x.claim(name, 10)
		if len(c.Deliveries) != 1 || c.Deliveries[0].Destination != name {
			x.Fatalf("claim of %q gave %+v", name, c.Deliveries)
		}
		listed, err := x.store.ListDeliveries(x.Context(), store.DeliveryQuery{Destination: name, Limit: 10})
		if err != nil || len(listed) != 1 {
			x.Fatalf("listing of %q gave %d deliveries, error %v", name, len(listed), err)
		}
	}
}

func checkClaimFinal(x *fixture) {
	for _, state := range []store.State{store.Delivered, store.Dead, store.Canceled} {
		x.ended("a", state)
	}
	x.clock.advance(time.Hour)
	c := x.claim("a", 10)
	same(x, "number of claimed", len(c.Deliveries), 0)
	same(x, "next", c.Next, time.Time{})
}

func checkClaimInvalid(x *fixture) {
	x.accept(x.acceptance("a"))
	_, err := x.store.Claim(x.Context(), store.ClaimRequest{Destination: "a", Lease: lease})
	wants(x, "claiming none", err, store.ErrInvalid)
}

func checkClaimBacklog(x *fixture) {
	const backlog, page = 700, 64
	var want []store.DeliveryID
	for len(want) < backlog {
		var batch []store.Acceptance
		for range 100 {
			batch = append(batch, x.acceptance("a"))
		}
		for _, answer := range x.acceptAll(batch...) {
			want = append(want, answer.Deliveries[0].ID)
		}
		x.clock.advance(time.Millisecond)
	}
	var got []store.DeliveryID
	for more := true; more; {
		c := x.claim("a", page)
		if len(c.Deliveries) > page {
			x.Fatalf("claimed %d deliveries with a limit of %d", len(c.Deliveries), page)
		}
		for _, d := range c.Deliveries {
			got = append(got, d.ID)
		}
		more = c.More
	}
	same(x, "claimed", got, want)
}
