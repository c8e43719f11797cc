// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var leaseChecks = []check{
	{"ends_in_time_and_can_be_claimed_under_a_higher_epoch", checkLeaseExpires},
	{"given_at_acceptance_ends_too", checkLeaseOfAcceptExpires},
	{"is_extended_from_now", checkLeaseExtended},
	{"that_is_lost_is_not_extended", checkLeaseExtendLost},
	{"holds_after_its_time_until_another_takes_it", checkLeaseLate},
	{"grows_its_epoch_every_time", checkLeaseEpochs},
	{"of_one_delivery_is_given_before_its_time", checkLeaseByID},
	{"of_one_delivery_is_not_taken_from_its_holder", checkLeaseByIDHeld},
}

func checkLeaseExpires(x *fixture) {
	x.accept(x.acceptance("a"))
	old := x.claimOne("a")
	x.clock.advance(lease - time.Millisecond)
	c := x.claim("a", 1)
	same(x, "claimed while leased", len(c.Deliveries), 0)
	same(x, "next", instant(c.Next), instant(old.LeaseUntil))
	x.clock.advance(time.Millisecond)
	c = x.claim("a", 1)
	same(x, "claimed at the end of the lease", len(c.Deliveries), 1)
	again := c.Deliveries[0]
	if again.Epoch <= old.Epoch {
		x.Fatalf("epoch %d of the second lease is not above %d", again.Epoch, old.Epoch)
	}
	want := old
	want.Epoch = again.Epoch
	want.LeaseUntil = x.clock.Now().Add(lease)
	sameDelivery(x, "delivery under the second lease", again, want)
	late := x.finishAll(store.Finish{Lease: old.Lease(), State: store.Delivered})[0]
	wants(x, "finishing under the first lease", late.Err, store.ErrLeaseLost)
	x.finish(store.Finish{Lease: again.Lease(), State: store.Delivered})
}

func checkLeaseOfAcceptExpires(x *fixture) {
	d := x.leased("a")
	x.clock.advance(lease)
	c := x.claim("a", 1)
	same(x, "number of claimed", len(c.Deliveries), 1)
	if c.Deliveries[0].Epoch <= d.Epoch {
		x.Fatalf("epoch %d of the second lease is not above %d", c.Deliveries[0].Epoch, d.Epoch)
	}
}

func checkLeaseExtended(x *fixture) {
	first, second := x.leased("a"), x.leased("a")
	x.clock.advance(lease / 2)
	lost, err := x.store.Extend(x.Context(), []store.Lease{first.Lease()}, time.Minute)
	if err != nil || len(lost) != 0 {
		x.Fatalf("Extend: lost %v, error %v", lost, err)
	}
	same(x, "end of the lease", instant(x.delivery(first.ID).LeaseUntil), x.clock.Now().Add(time.Minute))
	x.clock.advance(lease / 2)
	c := x.claim("a", 10)
	same(x, "number of claimed", len(c.Deliveries), 1)
	same(x, "claimed", c.Deliveries[0].ID, second.ID)
	x.finish(store.Finish{Lease: first.Lease(), State: store.Delivered})
}

func checkLeaseExtendLost(x *fixture) {
	held, done, canceled := x.leased("a"), x.ended("a", store.Delivered), x.leased("a")
	if _, err := x.store.Cancel(x.Context(), canceled.ID); err != nil {
		x.Fatalf("Cancel: %v", err)
	}
	deleted := x.leased("a")
	if err := x.store.Delete(x.Context(), deleted.ID.Message); err != nil {
		x.Fatalf("Delete: %v", err)
	}
	pending := x.pending("b")
	future := held.Lease()
	future.Epoch++
	want := []store.Lease{done.Lease(), future, canceled.Lease(), deleted.Lease(), pending.Lease()}
	lost, err := x.store.Extend(x.Context(), append([]store.Lease{held.Lease()}, want...), time.Minute)
	if err != nil {
		x.Fatalf("Extend: %v", err)
	}
	same(x, "lost leases", lost, want)
	same(x, "state of the ended one", x.delivery(done.ID).State, store.Delivered)
	same(x, "state of the pending one", x.delivery(pending.ID).State, store.Pending)
	same(x, "end of the lease held", instant(x.delivery(held.ID).LeaseUntil), x.clock.Now().Add(time.Minute))
}

func checkLeaseLate(x *fixture) {
	extended, finished := x.leased("a"), x.leased("a")
	x.clock.advance(2 * lease)
	same(x, "state after the end of the lease", x.delivery(extended.ID).State, store.Leased)
	lost, err := x.store.Extend(x.Context(), []store.Lease{extended.Lease()}, lease)
	if err != nil || len(lost) != 0 {
		x.Fatalf("Extend: lost %v, error %v", lost, err)
	}
	x.finish(store.Finish{Lease: finished.Lease(), State: store.Delivered})
	same(x, "claimed", len(x.claim("a", 10).Deliveries), 0)
}

func checkLeaseEpochs(x *fixture) {
	d := x.leased("a")
	same(x, "first epoch", d.Epoch, uint64(1))
	last := d
	for _, f := range []store.Finish{
		{State: store.Pending}, {State: store.Waiting}, {State: store.Dead}, {State: store.Pending},
	} {
		f.Lease = last.Lease()
		x.finish(f)
		if f.State == store.Dead {
			if _, err := x.store.Redrive(x.Context(), d.ID); err != nil {
				x.Fatalf("Redrive: %v", err)
			}
		}
		c := x.claim("a", 1)
		same(x, "number of claimed", len(c.Deliveries), 1)
		if c.Deliveries[0].Epoch <= last.Epoch {
			x.Fatalf("epoch %d after %s is not above %d", c.Deliveries[0].Epoch, f.State, last.Epoch)
		}
		last = c.Deliveries[0]
	}
}

// claimByID leases one delivery.
func (x *fixture) claimByID(id store.DeliveryID) store.Delivery {
	x.Helper()
	d, err := x.store.ClaimByID(x.Context(), id, lease)
	if err != nil {
		x.Fatalf("ClaimByID of %s: %v", id, err)
	}
	return d
}

func checkLeaseByID(x *fixture) {
	waiting, pending := x.waiting("a", time.Hour), x.pending("a")
	before := x.books("a")
	for _, d := range []store.Delivery{waiting, pending} {
		got := x.claimByID(d.ID)
		if got.Epoch <= d.Epoch {
			x.Fatalf("epoch %d is not above %d", got.Epoch, d.Epoch)
		}
		want := d
		want.State, want.Epoch, want.LeaseUntil = store.Leased, got.Epoch, x.clock.Now().Add(lease)
		sameDelivery(x, "claimed delivery", got, want)
		sameDelivery(x, "stored delivery", x.delivery(d.ID), want)
	}
	same(x, "books", x.books("a"), before)
	same(x, "number of claimed that are held", len(x.claim("a", 10).Deliveries), 0)
	held := x.delivery(waiting.ID)
	x.finish(store.Finish{Lease: held.Lease(), State: store.Waiting, Delay: time.Minute})
	x.clock.advance(time.Minute)
	same(x, "number of claimed when both are due", len(x.claim("a", 10).Deliveries), 2)
	x.clock.advance(2 * time.Hour)
	again := x.claimByID(pending.ID)
	x.finish(store.Finish{Lease: again.Lease(), State: store.Delivered})
}

func checkLeaseByIDHeld(x *fixture) {
	d := x.leased("a")
	_, err := x.store.ClaimByID(x.Context(), d.ID, lease)
	wants(x, "claiming what is held", err, store.ErrState)
	x.finish(store.Finish{Lease: d.Lease(), State: store.Delivered})
	_, err = x.store.ClaimByID(x.Context(), d.ID, lease)
	wants(x, "claiming what is delivered", err, store.ErrState)
	d.ID.N = 99
	_, err = x.store.ClaimByID(x.Context(), d.ID, lease)
	wants(x, "claiming what does not exist", err, store.ErrNotFound)
	x.join("k", lease)
	behind := x.join("k", 0)
	_, err = x.store.ClaimByID(x.Context(), behind.ID, lease)
	wants(x, "claiming what is blocked in its lane", err, store.ErrState)
}
