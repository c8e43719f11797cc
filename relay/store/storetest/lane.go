// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"strings"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var laneChecks = []check{
	{"P6_leases_only_the_head", checkLaneHead},
	{"P6_grants_no_lease_behind_the_head", checkLaneLease},
	{"P6_keeps_closed_while_the_head_is_open", checkLaneOpenHead},
	{"P6_releases_the_next_when_the_head_ends", checkLaneEnds},
	{"P6_lets_others_flow_on", checkLaneOthers},
	{"P6_is_in_the_order_of_acceptance", checkLaneAcceptance},
	{"P6_has_no_gap_where_a_blocked_one_ends", checkLaneGap},
	{"P6_releases_what_waits_behind_a_deleted_message", checkLaneDelete},
	{"P6_redrive_and_replay_are_outside", checkLaneOutside},
	{"P8_gives_each_its_own_time", checkLaneSince},
	{"P9_orders_callbacks_too", checkLaneCallback},
	{"refuses_keys_that_are_too_long", checkLaneLongKey},
	{"passes_a_large_backlog_one_by_one", checkLaneBacklog},
}

// ordered returns an acceptance with a delivery to "a" for each key.
func (x *fixture) ordered(lease time.Duration, keys ...string) store.Acceptance {
	a := x.acceptance()
	for _, key := range keys {
		a.Deliveries = append(a.Deliveries, store.NewDelivery{Destination: "a", OrderKey: key, Lease: lease})
	}
	return a
}

// join accepts a message with one delivery to "a" in a lane.
func (x *fixture) join(key string, lease time.Duration) store.Delivery {
	x.Helper()
	return x.only(x.accept(x.ordered(lease, key)).Deliveries)
}

// blocked checks that a delivery waits in its lane.
func (x *fixture) blocked(id store.DeliveryID) {
	x.Helper()
	if d := x.delivery(id); !d.Blocked() || d.State != store.Pending || !d.DueAt.IsZero() {
		x.Fatalf("delivery is not blocked: %+v", d)
	}
}

// head claims the only delivery of "a" that is due, which must be the one.
func (x *fixture) head(id store.DeliveryID) store.Delivery {
	x.Helper()
	d := x.only(x.claim("a", 10).Deliveries)
	same(x, "head", d.ID, id)
	return d
}

// nothing checks that nothing of "a" is due now or later.
func (x *fixture) nothing() {
	x.Helper()
	c := x.claim("a", 10)
	same(x, "number of claimed", len(c.Deliveries), 0)
	same(x, "more", c.More, false)
	same(x, "next", c.Next, time.Time{})
}

// end finishes a delivery and checks whether the next one is released by that.
func (x *fixture) end(d store.Delivery, state store.State, released bool) {
	x.Helper()
	f := x.finish(store.Finish{Lease: d.Lease(), State: state})
	same(x, "released", f.Released, released)
	if f.Delivery.Place != 0 || x.delivery(d.ID).Place != 0 {
		x.Fatalf("delivery %s has ended and is in its lane still", d.ID)
	}
}

func checkLaneHead(x *fixture) {
	one, two, three := x.join("k", 0), x.join("k", 0), x.join("k", 0)
	if one.Blocked() || one.Place == 0 || two.Place <= one.Place || three.Place <= two.Place {
		x.Fatalf("places are %d, %d, %d", one.Place, two.Place, three.Place)
	}
	same(x, "answered as blocked", two.Blocked() && three.Blocked(), true)
	x.blocked(two.ID)
	x.end(x.head(one.ID), store.Delivered, true)
	x.blocked(three.ID)
	x.end(x.head(two.ID), store.Delivered, true)
	x.end(x.head(three.ID), store.Delivered, false)
	x.nothing()
	// The lane is open again.
	x.end(x.join("k", lease), store.Delivered, false)
}

func checkLaneLease(x *fixture) {
	both := x.accept(x.ordered(lease, "k", "k", "other", "")).Deliveries
	three := x.join("k", lease)
	for i, want := range []store.State{store.Leased, store.Pending, store.Leased, store.Leased} {
		same(x, "state", both[i].State, want)
	}
	same(x, "state", three.State, store.Pending)
	same(x, "epoch", three.Epoch, uint64(0))
	x.blocked(both[1].ID)
	x.blocked(three.ID)
	x.end(both[2], store.Delivered, false)
	x.end(both[3], store.Delivered, false)
	x.end(both[0], store.Delivered, true)
	x.end(x.head(both[1].ID), store.Delivered, true)
	x.end(x.head(three.ID), store.Delivered, false)
}

func checkLaneOpenHead(x *fixture) {
	one := x.join("k", lease)
	two := x.join("k", lease)
	f := x.finish(store.Finish{Lease: one.Lease(), State: store.Waiting, Delay: time.Hour})
	same(x, "released", f.Released, false)
	c := x.claim("a", 10)
	same(x, "claimed while the head waits", len(c.Deliveries), 0)
	same(x, "next", instant(c.Next), x.clock.Now().Add(time.Hour))
	if n, err := x.store.Hasten(x.Context(), "a", 10); n != 1 || err != nil {
		x.Fatalf("hastened %d, error %v", n, err)
	}
	one = x.head(one.ID)
	x.finish(store.Finish{Lease: one.Lease(), State: store.Pending})
	one = x.head(one.ID)
	x.blocked(two.ID)
	x.clock.advance(2 * lease) // a lease that has run out does not open the lane either
	x.end(x.head(one.ID), store.Dead, true)
	x.end(x.head(two.ID), store.Delivered, false)
}

func checkLaneEnds(x *fixture) {
	for _, state := range []store.State{store.Delivered, store.Dead, store.Canceled} {
		one, two := x.join("k", lease), x.join("k", 0)
		x.end(one, state, true)
		x.end(x.head(two.ID), state, false)
	}
	// In one commit several lanes move on, and one of them twice.
	one, other := x.join("k", lease), x.join("other", lease)
	two, another := x.join("k", 0), x.join("other", 0)
	answers := x.finishAll(
		store.Finish{Lease: one.Lease(), State: store.Delivered},
		store.Finish{Lease: other.Lease(), State: store.Delivered},
		store.Finish{Lease: one.Lease(), State: store.Delivered},
	)
	same(x, "released", [3]bool{answers[0].Released, answers[1].Released, answers[2].Released}, [3]bool{true, true, false})
	wants(x, "finishing twice", answers[2].Err, store.ErrLeaseLost)
	c := x.claim("a", 10)
	same(x, "claimed", []store.DeliveryID{c.Deliveries[0].ID, c.Deliveries[1].ID}, []store.DeliveryID{two.ID, another.ID})
	for _, d := range c.Deliveries {
		x.end(d, store.Delivered, false)
	}
	one = x.join("k", lease)
	two = x.join("k", 0)
	if _, err := x.store.Cancel(x.Context(), one.ID); err != nil {
		x.Fatalf("Cancel: %v", err)
	}
	late := x.finishAll(store.Finish{Lease: one.Lease(), State: store.Delivered})[0]
	wants(x, "finishing what was canceled", late.Err, store.ErrLeaseLost)
	same(x, "released", late.Released, false)
	x.end(x.head(two.ID), store.Delivered, false)
}

func checkLaneOthers(x *fixture) {
	x.join("k", lease)
	blocked := x.join("k", 0)
	free := x.accept(x.ordered(0, "k2", "", "k\x00", "K")).Deliveries
	a := x.acceptance("b")
	a.Deliveries[0].OrderKey = "k"
	elsewhere := x.only(x.accept(a).Deliveries)
	same(x, "claimed", len(x.claim("a", 10).Deliveries), len(free))
	same(x, "claimed elsewhere", x.claimOne("b").ID, elsewhere.ID)
	x.blocked(blocked.ID)
	same(x, "books", x.books("a"), store.Books{Made: 6, Open: 6})
}

func checkLaneAcceptance(x *fixture) {
	early := x.ordered(0, "k") // its id is smaller, and it is accepted later
	x.clock.advance(time.Second)
	first := x.join("k", 0)
	second := x.only(x.accept(early).Deliveries)
	third := x.join("k", 0)
	for _, d := range []store.Delivery{first, second, third} {
		x.end(x.head(d.ID), store.Delivered, d.ID != third.ID)
	}
}

func checkLaneGap(x *fixture) {
	var all []store.Delivery
	for range 5 {
		all = append(all, x.join("k", 0))
	}
	if _, err := x.store.Cancel(x.Context(), all[1].ID); err != nil {
		x.Fatalf("Cancel: %v", err)
	}
	if err := x.store.Delete(x.Context(), all[2].ID.Message); err != nil {
		x.Fatalf("Delete: %v", err)
	}
	one := x.head(all[0].ID)
	x.nothingElse(one)
	x.end(one, store.Delivered, true)
	if err := x.store.Delete(x.Context(), all[4].ID.Message); err != nil {
		x.Fatalf("Delete: %v", err)
	}
	x.end(x.head(all[3].ID), store.Delivered, false)
	x.nothing()
}

// nothingElse checks that nothing of "a" is due but what is leased.
func (x *fixture) nothingElse(held store.Delivery) {
	x.Helper()
	c := x.claim("a", 10)
	same(x, "number of claimed", len(c.Deliveries), 0)
	same(x, "next", instant(c.Next), held.LeaseUntil)
}

func checkLaneDelete(x *fixture) {
	both := x.accept(x.ordered(lease, "k", "k")).Deliveries
	last := x.join("k", 0)
	if err := x.store.Delete(x.Context(), both[0].ID.Message); err != nil {
		x.Fatalf("Delete: %v", err)
	}
	x.end(x.head(last.ID), store.Delivered, false)
	x.end(x.join("k", lease), store.Delivered, false)
	same(x, "books", x.books("a"), store.Books{Made: 4, Delivered: 2, Deleted: 2})
}

func checkLaneOutside(x *fixture) {
	dead := x.join("k", lease)
	x.end(dead, store.Dead, false)
	head, blocked := x.join("k", lease), x.join("k", lease)
	redriven := x.redrive(dead.ID)
	same(x, "order key", redriven.OrderKey, "k")
	same(x, "place", redriven.Place, uint64(0))
	replayed := x.replay(dead.ID.Message, "a")
	same(x, "place", replayed.Place, uint64(0))
	c := x.claim("a", 10)
	same(x, "claimed beside the lane", len(c.Deliveries), 2)
	x.blocked(blocked.ID)
	for _, d := range c.Deliveries {
		f := x.finish(store.Finish{Lease: d.Lease(), State: store.Delivered})
		same(x, "released", f.Released, false)
	}
	x.blocked(blocked.ID)
	x.end(head, store.Delivered, true)
	x.end(x.head(blocked.ID), store.Delivered, false)
	// Nor does one that is open keep the lane closed for those to come.
	dead = x.join("k", lease)
	x.end(dead, store.Dead, false)
	x.redrive(dead.ID)
	same(x, "state", x.join("k", lease).State, store.Leased)
}

func checkLaneSince(x *fixture) {
	one, two := x.join("k", lease), x.join("k", lease)
	made := x.clock.Now()
	x.clock.advance(time.Hour)
	x.end(one, store.Dead, true)
	two = x.head(two.ID)
	same(x, "created at", instant(two.CreatedAt), made)
	same(x, "since", instant(two.Since), x.clock.Now())
	same(x, "due at", instant(two.DueAt), x.clock.Now())
}

func checkLaneCallback(x *fixture) {
	one, two := x.join("k", lease), x.join("k", lease)
	callback := x.ordered(lease, "k", "new", "new")
	f := x.finish(store.Finish{Lease: one.Lease(), State: store.Delivered, Callbacks: []store.Acceptance{callback}})
	same(x, "released", f.Released, true)
	made := f.Callbacks[0].Deliveries
	same(x, "behind what waits", made[0].Blocked(), true)
	same(x, "in a lane of their own", [2]bool{made[1].State == store.Leased, made[2].Blocked()}, [2]bool{true, true})
	x.end(x.head(two.ID), store.Delivered, true)
	x.end(x.head(made[0].ID), store.Delivered, false)
	x.end(made[1], store.Delivered, true)
	x.end(x.head(made[2].ID), store.Delivered, false)
}

func checkLaneLongKey(x *fixture) {
	longest := strings.Repeat("k", store.MaxOrderKey)
	x.join(longest, lease)
	x.blocked(x.join(longest, lease).ID)
	_, err := x.store.Accept(x.Context(), []store.Acceptance{x.acceptance("a"), x.ordered(0, longest+"k")})
	wants(x, "accepting a key that is too long", err, store.ErrInvalid)
	same(x, "books", x.books("a"), store.Books{Made: 2, Open: 2})
}

func checkLaneBacklog(x *fixture) {
	const backlog = 700
	var ids []store.DeliveryID
	for len(ids) < backlog {
		var batch []store.Acceptance
		for range 100 {
			batch = append(batch, x.ordered(lease, "k"))
		}
		for _, answer := range x.acceptAll(batch...) {
			ids = append(ids, answer.Deliveries[0].ID)
		}
	}
	d := x.delivery(ids[0])
	for _, next := range ids[1:] {
		x.end(d, store.Delivered, true)
		d = x.head(next)
	}
	x.end(d, store.Delivered, false)
}
