// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var acceptChecks = []check{
	{"P1_stores_message_and_pending_deliveries", checkAcceptPending},
	{"leases_on_insert", checkAcceptLeased},
	{"stores_a_message_without_deliveries", checkAcceptFiltered},
	{"answers_a_batch_in_order", checkAcceptBatch},
	{"makes_several_deliveries_to_one_destination", checkAcceptSameDestination},
	{"takes_nothing_of_a_batch_it_refuses", checkAcceptAtomic},
	{"accepts_an_empty_batch", checkAcceptEmpty},
	{"is_whole_or_absent_under_a_canceled_context", checkAcceptCanceled},
}

func checkAcceptPending(x *fixture) {
	a := x.acceptance("a", "b")
	a.Deliveries[1].OrderKey = "customer-7"
	now := x.clock.Now()
	answer := x.accept(a)
	id := a.Message.ID
	size := int64(len(a.Message.Request.Body))
	want := []store.Delivery{
		{ID: store.DeliveryID{Message: id, N: 1}, Destination: "a", State: store.Pending, DueAt: now, CreatedAt: now, Since: now, BodySize: size},
		{ID: store.DeliveryID{Message: id, N: 2}, Destination: "b", State: store.Pending, DueAt: now, CreatedAt: now, Since: now, BodySize: size, OrderKey: "customer-7"},
	}
	want[1].Place = answer.Deliveries[1].Place // whatever it is
	same(x, "answer", plainAccepted(answer), store.Accepted{Verdict: store.Fresh, Message: id, AcceptedAt: now, Deliveries: want})

	x.clock.advance(time.Minute)
	same(x, "deliveries", plainDeliveries(x.deliveries(id)), want)
	m, err := x.store.Message(x.Context(), id)
	if err != nil {
		x.Fatalf("Message: %v", err)
	}
	same(x, "message", plainMessage(*m), plainMessage(*a.Message))
	for _, destination := range []string{"a", "b"} {
		same(x, "books", x.books(destination), store.Books{Made: 1, Open: 1})
	}
}

func checkAcceptLeased(x *fixture) {
	a := x.acceptance()
	a.Deliveries = to(lease, "a")
	now := x.clock.Now()
	want := store.Delivery{
		ID: store.DeliveryID{Message: a.Message.ID, N: 1}, Destination: "a", State: store.Leased,
		DueAt: now, CreatedAt: now, Since: now, BodySize: int64(len(a.Message.Request.Body)), Epoch: 1, LeaseUntil: now.Add(lease),
	}
	answer := x.accept(a)
	if len(answer.Deliveries) != 1 {
		x.Fatalf("accepted with %d deliveries, want 1", len(answer.Deliveries))
	}
	sameDelivery(x, "answered delivery", answer.Deliveries[0], want)
	sameDelivery(x, "stored delivery", x.delivery(want.ID), want)
	same(x, "books", x.books("a"), store.Books{Made: 1, Open: 1})
	if c := x.claim("a", 10); len(c.Deliveries) != 0 {
		x.Fatalf("claimed %d deliveries that are leased since they were accepted", len(c.Deliveries))
	}
	done := x.finish(store.Finish{Lease: answer.Deliveries[0].Lease(), State: store.Delivered})
	same(x, "state", done.Delivery.State, store.Delivered)
}

func checkAcceptFiltered(x *fixture) {
	a := x.keyed("k")
	answer := x.accept(a)
	same(x, "verdict", answer.Verdict, store.Fresh)
	same(x, "number of deliveries", len(x.deliveries(a.Message.ID)), 0)
	for _, redeliver := range []bool{false, true} {
		again := x.keyed("k", "a")
		again.Redeliver = redeliver
		answer = x.accept(again)
		same(x, "verdict on the duplicate", answer.Verdict, store.DuplicateDelivered)
		same(x, "original", answer.Message, a.Message.ID)
	}
	same(x, "number of deliveries", len(x.deliveries(a.Message.ID)), 0)
}

func checkAcceptBatch(x *fixture) {
	first := x.keyed("k1", "a")
	x.accept(first)
	x.clock.advance(time.Second)
	batch := []store.Acceptance{x.keyed("k2", "a"), x.keyed("k1", "a"), x.keyed("k2", "a"), x.acceptance("b"), x.acceptance("b")}
	answers := x.acceptAll(batch...)
	for i, want := range []struct {
		verdict store.Verdict
		message store.MessageID
	}{
		{store.Fresh, batch[0].Message.ID},
		{store.DuplicateOpen, first.Message.ID},
		{store.DuplicateOpen, batch[0].Message.ID},
		{store.Fresh, batch[3].Message.ID},
		{store.Fresh, batch[4].Message.ID},
	} {
		same(x, "verdict", answers[i].Verdict, want.verdict)
		same(x, "message", answers[i].Message, want.message)
	}
	for _, i := range []int{1, 2} {
		_, err := x.store.Message(x.Context(), batch[i].Message.ID)
		wants(x, "reading a duplicate by its own id", err, store.ErrNotFound)
	}
	same(x, "books of a", x.books("a"), store.Books{Made: 2, Open: 2})
	same(x, "books of b", x.books("b"), store.Books{Made: 2, Open: 2})
}

func checkAcceptSameDestination(x *fixture) {
	answer := x.accept(x.acceptance("a", "a", "a"))
	same(x, "number of deliveries", len(answer.Deliveries), 3)
	for i, d := range x.claim("a", 10).Deliveries {
		same(x, "number of delivery", d.ID.N, uint32(i+1))
	}
	same(x, "books", x.books("a"), store.Books{Made: 3, Open: 3})
}

func checkAcceptAtomic(x *fixture) {
	good := x.keyed("k", "a")
	bad := x.keyed("k2", "a")
	bad.Message = nil
	_, err := x.store.Accept(x.Context(), []store.Acceptance{good, bad})
	wants(x, "accepting without a message", err, store.ErrInvalid)
	bad.Message = x.ids.message("shop")
	bad.Message.ID = store.MessageID{}
	_, err = x.store.Accept(x.Context(), []store.Acceptance{good, bad})
	wants(x, "accepting a message without an id", err, store.ErrInvalid)

	_, err = x.store.Message(x.Context(), good.Message.ID)
	wants(x, "reading the message of a refused batch", err, store.ErrNotFound)
	same(x, "books", x.books("a"), store.Books{})
	same(x, "claimed", len(x.claim("a", 10).Deliveries), 0)
	same(x, "verdict", x.accept(good).Verdict, store.Fresh)
}

func checkAcceptEmpty(x *fixture) {
	answers, err := x.store.Accept(x.Context(), nil)
	if err != nil || len(answers) != 0 {
		x.Fatalf("accepting nothing: %d answers, error %v", len(answers), err)
	}
}

func checkAcceptCanceled(x *fixture) {
	ctx, cancel := context.WithCancel(x.Context())
	cancel()
	a := x.keyed("k", "a")
	_, failed := x.store.Accept(ctx, []store.Acceptance{a})
	want := store.Fresh
	if failed == nil {
		want = store.DuplicateOpen
	}
	again := x.keyed("k", "a")
	same(x, "verdict on the repeat", x.accept(again).Verdict, want)
	same(x, "books", x.books("a"), store.Books{Made: 1, Open: 1})
}
