// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var holdChecks = []check{
	{"P6_keeps_closed_behind_a_dead_one", checkLaneHold},
	{"P6_ends_with_an_operator_action", checkLaneHoldEnds},
	{"P6_outlives_retention", checkLaneHoldPurge},
	{"P5_ends_with_the_duplicate_that_is_delivered", checkLaneHoldDuplicate},
}

// held returns a dead delivery that holds its lane, and the one behind it.
func (x *fixture) held(key string) (dead, next store.Delivery) {
	x.Helper()
	dead, next = x.join(key, lease), x.join(key, lease)
	f := x.finish(store.Finish{Lease: dead.Lease(), State: store.Dead, Hold: true})
	same(x, "released", f.Released, false)
	dead = x.delivery(dead.ID)
	same(x, "holds", dead.Holds(), true)
	x.blocked(next.ID)
	return dead, next
}

func checkLaneHold(x *fixture) {
	dead, next := x.held("k")
	x.nothing()
	last := x.join("k", lease)
	x.blocked(last.ID)
	listed, err := x.store.ListDeliveries(x.Context(), store.DeliveryQuery{State: store.Dead, Limit: 10})
	if err != nil || len(listed) != 1 || !listed[0].Holds() {
		x.Fatalf("listed %+v, error %v", listed, err)
	}
	for range 2 { // it stays the head while it dies again
		d := x.redrive(dead.ID)
		same(x, "place", d.Place, dead.Place)
		x.blocked(next.ID)
		d = x.head(dead.ID)
		x.finish(store.Finish{Lease: d.Lease(), State: store.Dead, Hold: true})
		x.nothing()
	}
	x.redrive(dead.ID)
	x.end(x.head(dead.ID), store.Delivered, true)
	x.end(x.head(next.ID), store.Dead, true)
	x.end(x.head(last.ID), store.Delivered, false)
	// Only a dead one can hold.
	d := x.join("k", lease)
	f := x.finish(store.Finish{Lease: d.Lease(), State: store.Delivered, Hold: true})
	same(x, "place", f.Delivery.Place, uint64(0))
	d = x.leased("a")
	f = x.finish(store.Finish{Lease: d.Lease(), State: store.Dead, Hold: true})
	same(x, "an unordered one holds", f.Delivery.Holds(), false)
}

func checkLaneHoldEnds(x *fixture) {
	dead, next := x.held("k")
	canceled, err := x.store.Cancel(x.Context(), dead.ID)
	if err != nil || canceled.State != store.Canceled || canceled.Place != 0 {
		x.Fatalf("Cancel: %+v, %v", canceled, err)
	}
	x.end(x.head(next.ID), store.Delivered, false)
	same(x, "books", x.books("a"), store.Books{Made: 2, Delivered: 1, Canceled: 1})

	dead, next = x.held("k")
	if err := x.store.Delete(x.Context(), dead.ID.Message); err != nil {
		x.Fatalf("Delete: %v", err)
	}
	x.end(x.head(next.ID), store.Delivered, false)

	// It dies again under a configuration that does not hold any more.
	dead, next = x.held("k")
	x.redrive(dead.ID)
	x.end(x.head(dead.ID), store.Dead, true)
	x.end(x.head(next.ID), store.Delivered, false)
	_, err = x.store.Cancel(x.Context(), dead.ID)
	wants(x, "canceling a dead delivery that holds nothing", err, store.ErrState)
}

func checkLaneHoldPurge(x *fixture) {
	dead, next := x.held("k")
	x.clock.advance(window)
	if _, err := x.store.Purge(x.Context(), store.PurgeRequest{Finished: time.Hour, Dead: time.Hour, DedupeWindow: window}); err != nil {
		x.Fatalf("Purge: %v", err)
	}
	dead = x.delivery(dead.ID)
	same(x, "holds", dead.Holds(), true)
	x.blocked(next.ID)
	if _, err := x.store.Cancel(x.Context(), dead.ID); err != nil {
		x.Fatalf("Cancel: %v", err)
	}
	x.end(x.head(next.ID), store.Delivered, false)
}

func checkLaneHoldDuplicate(x *fixture) {
	a := x.ordered(lease, "k")
	a.Key = keyOf("one")
	dead := x.only(x.accept(a).Deliveries)
	next := x.join("k", lease)
	x.finish(store.Finish{Lease: dead.Lease(), State: store.Dead, Hold: true})
	again := x.ordered(lease, "k")
	again.Key = a.Key
	answer := x.accept(again)
	same(x, "verdict", answer.Verdict, store.DuplicateRedriven)
	same(x, "blocked", answer.Deliveries[0].Blocked(), false)
	x.blocked(next.ID)
	x.end(x.head(dead.ID), store.Delivered, true)
	x.end(x.head(next.ID), store.Delivered, false)
}
