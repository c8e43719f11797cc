// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var operatorChecks = []check{
	{"redrives_a_dead_delivery", checkRedrive},
	{"redrives_only_dead_deliveries", checkRedriveState},
	{"replays_a_message", checkReplay},
	{"replays_to_a_new_destination", checkReplayNew},
	{"replays_above_every_generation", checkReplayGeneration},
	{"cancels_an_open_delivery", checkCancel},
	{"cancels_only_open_deliveries", checkCancelState},
	{"deletes_a_message", checkDelete},
	{"finds_nothing_under_unknown_ids", checkOperatorUnknown},
}

func (x *fixture) redrive(id store.DeliveryID) store.Delivery {
	x.Helper()
	d, err := x.store.Redrive(x.Context(), id)
	if err != nil {
		x.Fatalf("Redrive of %s: %v", id, err)
	}
	return d
}

func (x *fixture) replay(id store.MessageID, destination string) store.Delivery {
	x.Helper()
	d, err := x.store.Replay(x.Context(), id, destination)
	if err != nil {
		x.Fatalf("Replay of %s: %v", id, err)
	}
	return d
}

func checkRedrive(x *fixture) {
	d := x.leased("a")
	d = x.finish(store.Finish{Lease: d.Lease(), State: store.Dead, Attempt: attempt(store.Refused, 500, "status 500")}).Delivery
	x.clock.advance(time.Hour)
	want := d
	want.State = store.Pending
	want.Generation, want.Tries = 1, 0
	want.DueAt, want.Since, want.EndedAt = x.clock.Now(), x.clock.Now(), time.Time{}
	sameDelivery(x, "answered delivery", x.redrive(d.ID), want)
	sameDelivery(x, "stored delivery", x.delivery(d.ID), want)
	same(x, "books", x.books("a"), store.Books{Made: 1, Open: 1})

	c := x.claimOne("a")
	d = x.finish(store.Finish{Lease: c.Lease(), State: store.Dead, Attempt: attempt(store.TimedOut, 0, "slow")}).Delivery
	same(x, "tries", d.Tries, uint32(1))
	same(x, "number of attempts", d.Attempts, uint32(2))
	same(x, "generation", x.redrive(d.ID).Generation, uint32(2))
}

func checkRedriveState(x *fixture) {
	waiting := x.leased("a")
	x.finish(store.Finish{Lease: waiting.Lease(), State: store.Waiting, Delay: time.Hour})
	for _, d := range []store.Delivery{
		x.pending("a"), x.leased("a"), waiting,
		x.ended("a", store.Delivered), x.ended("a", store.Canceled),
	} {
		before := x.delivery(d.ID)
		_, err := x.store.Redrive(x.Context(), d.ID)
		wants(x, "re-driving a delivery that is not dead", err, store.ErrState)
		sameDelivery(x, "delivery", x.delivery(d.ID), before)
	}
}

func checkReplay(x *fixture) {
	a := x.acceptance("a", "b")
	a.Deliveries[0].OrderKey = "customer-7"
	first := x.accept(a).Deliveries[0]
	x.clock.advance(time.Hour)
	now := x.clock.Now()
	want := store.Delivery{
		ID: store.DeliveryID{Message: first.ID.Message, N: 3}, Destination: "a", State: store.Pending,
		DueAt: now, CreatedAt: now, Since: now, BodySize: int64(len(a.Message.Request.Body)), Generation: 1, ReplayOf: 1,
	}
	sameDelivery(x, "answered delivery", x.replay(first.ID.Message, "a"), want)
	sameDelivery(x, "stored delivery", x.delivery(want.ID), want)
	sameDelivery(x, "replayed delivery", x.delivery(first.ID), first)
	same(x, "books", x.books("a"), store.Books{Made: 2, Open: 2})
	again := x.replay(first.ID.Message, "a")
	same(x, "number", again.ID.N, uint32(4))
	same(x, "replays", again.ReplayOf, uint32(3))
	same(x, "generation", again.Generation, uint32(2))
	same(x, "number of claimed", len(x.claim("a", 10).Deliveries), 3)
}

func checkReplayNew(x *fixture) {
	a := x.acceptance()
	id := x.accept(a).Message
	d := x.replay(id, "new")
	same(x, "size of the body", d.BodySize, int64(len(a.Message.Request.Body)))
	same(x, "number", d.ID.N, uint32(1))
	same(x, "replays", d.ReplayOf, uint32(0))
	same(x, "generation", d.Generation, uint32(0))
	same(x, "books", x.books("new"), store.Books{Made: 1, Open: 1})
	same(x, "number of claimed", len(x.claim("new", 10).Deliveries), 1)
}

func checkReplayGeneration(x *fixture) {
	d := x.ended("a", store.Dead)
	for range 3 {
		x.redrive(d.ID)
		c := x.claimOne("a")
		x.finish(store.Finish{Lease: c.Lease(), State: store.Dead})
	}
	first := x.replay(d.ID.Message, "a")
	same(x, "generation", first.Generation, uint32(4))
	x.cancel(first.ID)
	for range 2 {
		x.redrive(d.ID)
		c := x.claimOne("a")
		x.finish(store.Finish{Lease: c.Lease(), State: store.Dead})
	}
	second := x.replay(d.ID.Message, "a")
	same(x, "generation", second.Generation, uint32(6))
	same(x, "replays", second.ReplayOf, uint32(2))
}

func (x *fixture) cancel(id store.DeliveryID) store.Delivery {
	x.Helper()
	d, err := x.store.Cancel(x.Context(), id)
	if err != nil {
		x.Fatalf("Cancel of %s: %v", id, err)
	}
	return d
}

func checkCancel(x *fixture) {
	leased, waiting := x.leased("a"), x.leased("a")
	x.finish(store.Finish{Lease: waiting.Lease(), State: store.Waiting, Delay: time.Minute})
	pending := x.pending("a")
	x.clock.advance(time.Second)
	for _, d := range []store.Delivery{leased, waiting, pending} {
		want := x.delivery(d.ID)
		got := x.cancel(d.ID)
		want.State = store.Canceled
		want.EndedAt = x.clock.Now()
		want.DueAt, want.LeaseUntil = time.Time{}, time.Time{}
		want.Epoch = got.Epoch
		sameDelivery(x, "answered delivery", got, want)
		sameDelivery(x, "stored delivery", x.delivery(d.ID), want)
	}
	if epoch := x.delivery(leased.ID).Epoch; epoch <= leased.Epoch {
		x.Fatalf("epoch %d after the cancel is not above %d", epoch, leased.Epoch)
	}
	late := x.finishAll(store.Finish{Lease: leased.Lease(), State: store.Delivered, Attempt: attempt(store.Succeeded, 200, "")})[0]
	wants(x, "finishing a canceled delivery", late.Err, store.ErrLeaseLost)
	same(x, "state", x.delivery(leased.ID).State, store.Canceled)
	same(x, "books", x.books("a"), store.Books{Made: 3, Canceled: 3})
	x.clock.advance(time.Hour)
	same(x, "claimed", len(x.claim("a", 10).Deliveries), 0)
}

func checkCancelState(x *fixture) {
	for _, state := range []store.State{store.Delivered, store.Dead, store.Canceled} {
		d := x.ended("a", state)
		_, err := x.store.Cancel(x.Context(), d.ID)
		wants(x, "canceling a delivery that has ended", err, store.ErrState)
		sameDelivery(x, "delivery", x.delivery(d.ID), d)
	}
}

func checkDelete(x *fixture) {
	kept := x.accept(x.acceptance("a"))
	o := x.original("k", []string{"a", "a", "a", "a"}, store.Delivered, store.Dead, store.Canceled, 0)
	x.replay(o.Message, "b")
	if err := x.store.Delete(x.Context(), o.Message); err != nil {
		x.Fatalf("Delete: %v", err)
	}
	same(x, "books of a", x.books("a"), store.Books{Made: 5, Open: 1, Deleted: 4})
	same(x, "books of b", x.books("b"), store.Books{Made: 1, Deleted: 1})
	_, err := x.store.Message(x.Context(), o.Message)
	wants(x, "reading a deleted message", err, store.ErrNotFound)
	_, err = x.store.Deliveries(x.Context(), o.Message)
	wants(x, "reading the deliveries of a deleted message", err, store.ErrNotFound)
	_, err = x.store.Attempts(x.Context(), o.Deliveries[0].ID)
	wants(x, "reading the attempts of a deleted message", err, store.ErrNotFound)
	wants(x, "deleting again", x.store.Delete(x.Context(), o.Message), store.ErrNotFound)
	late := x.finishAll(store.Finish{Lease: o.Deliveries[3].Lease(), State: store.Delivered})[0]
	wants(x, "finishing a deleted delivery", late.Err, store.ErrNotFound)

	x.clock.advance(time.Hour)
	same(x, "claimed of a", len(x.claim("a", 10).Deliveries), 1)
	same(x, "claimed of b", len(x.claim("b", 10).Deliveries), 0)
	listed, err := x.store.ListDeliveries(x.Context(), store.DeliveryQuery{Limit: 10})
	if err != nil || len(listed) != 1 || listed[0].ID.Message != kept.Message {
		x.Fatalf("deliveries listed after the delete: %+v, error %v", listed, err)
	}
	messages, err := x.store.ListMessages(x.Context(), store.MessageQuery{Source: "shop", Limit: 10})
	if err != nil || len(messages) != 1 || messages[0].ID != kept.Message {
		x.Fatalf("messages listed after the delete: %d, error %v", len(messages), err)
	}
}

func checkOperatorUnknown(x *fixture) {
	known := x.accept(x.acceptance("a")).Message
	for _, id := range []store.DeliveryID{{Message: x.ids.next(), N: 1}, {Message: known, N: 2}, {Message: known}, {}} {
		_, err := x.store.Redrive(x.Context(), id)
		wants(x, "re-driving "+id.String(), err, store.ErrNotFound)
		_, err = x.store.Cancel(x.Context(), id)
		wants(x, "canceling "+id.String(), err, store.ErrNotFound)
	}
	unknown := x.ids.next()
	_, err := x.store.Replay(x.Context(), unknown, "a")
	wants(x, "replaying an unknown message", err, store.ErrNotFound)
	wants(x, "deleting an unknown message", x.store.Delete(x.Context(), unknown), store.ErrNotFound)
	_, err = x.store.Message(x.Context(), unknown)
	wants(x, "reading an unknown message", err, store.ErrNotFound)
	_, err = x.store.Deliveries(x.Context(), unknown)
	wants(x, "reading the deliveries of an unknown message", err, store.ErrNotFound)
	same(x, "books", x.books("a"), store.Books{Made: 1, Open: 1})
}
