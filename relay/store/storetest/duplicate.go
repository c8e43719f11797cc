// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var duplicateChecks = []check{
	{"P5_of_an_open_message_changes_nothing", checkDuplicateOpen},
	{"P5_of_a_delivered_message_changes_nothing", checkDuplicateDelivered},
	{"P5_of_a_delivered_message_is_redelivered_on_request", checkDuplicateRedelivered},
	{"P5_redelivers_each_destination_once", checkDuplicateRedeliveredOnce},
	{"P5_of_a_dead_message_redrives_its_dead_deliveries", checkDuplicateRedriven},
	{"P5_redrives_a_dead_message_once", checkDuplicateRedrivenOnce},
	{"P5_of_a_dead_message_with_an_open_delivery_changes_nothing", checkDuplicateDeadAndOpen},
	{"P5_of_a_canceled_message_is_like_of_a_delivered_one", checkDuplicateCanceled},
	{"P5_of_a_purged_message_changes_nothing", checkDuplicatePurged},
	{"P5_of_a_deleted_message_changes_nothing", checkDuplicateDeleted},
	{"without_a_key_is_never_one", checkDuplicateKeyless},
	{"keys_that_differ_in_one_bit_are_different", checkDuplicateKeys},
}

// original accepts a keyed message with a leased delivery to each destination,
// and lets each end in its state; a zero state leaves it leased.
func (x *fixture) original(key string, destinations []string, states ...store.State) store.Accepted {
	x.Helper()
	a := x.keyed(key)
	a.Deliveries = to(lease, destinations...)
	answer := x.accept(a)
	for i, state := range states {
		if state != 0 {
			x.finish(store.Finish{Lease: answer.Deliveries[i].Lease(), State: state})
		}
	}
	x.clock.advance(time.Minute)
	return answer
}

// repeat accepts a message with a key again and checks what is always so. Its
// own deliveries are never made.
func (x *fixture) repeat(key string, redeliver bool, original store.Accepted, want store.Verdict) store.Accepted {
	x.Helper()
	a := x.keyed(key)
	a.Deliveries = to(lease, "never")
	a.Redeliver = redeliver
	answer := x.accept(a)
	same(x, "verdict", answer.Verdict, want)
	same(x, "message of the duplicate", answer.Message, original.Message)
	same(x, "acceptance of the duplicate", instant(answer.AcceptedAt), instant(original.AcceptedAt))
	same(x, "books of a destination only the duplicate names", x.books("never"), store.Books{})
	_, err := x.store.Message(x.Context(), a.Message.ID)
	wants(x, "reading the duplicate", err, store.ErrNotFound)
	return answer
}

// unchanged repeats a key and checks that the deliveries of the original stay as
// they are.
func (x *fixture) unchanged(key string, redeliver bool, original store.Accepted, want store.Verdict) {
	x.Helper()
	before := plainDeliveries(x.deliveries(original.Message))
	answer := x.repeat(key, redeliver, original, want)
	same(x, "number of deliveries in the answer", len(answer.Deliveries), 0)
	same(x, "deliveries", plainDeliveries(x.deliveries(original.Message)), before)
}

func checkDuplicateOpen(x *fixture) {
	o := x.original("k", []string{"a", "b"}, store.Delivered, 0)
	x.unchanged("k", false, o, store.DuplicateOpen)
	x.unchanged("k", true, o, store.DuplicateOpen)
	x.finish(store.Finish{Lease: o.Deliveries[1].Lease(), State: store.Waiting, Delay: time.Hour})
	x.unchanged("k", true, o, store.DuplicateOpen)
	pending := x.accept(x.keyed("k2", "a"))
	x.unchanged("k2", true, pending, store.DuplicateOpen)
}

func checkDuplicateDelivered(x *fixture) {
	o := x.original("k", []string{"a", "b"}, store.Delivered, store.Delivered)
	x.unchanged("k", false, o, store.DuplicateDelivered)
	same(x, "books", x.books("a"), store.Books{Made: 1, Delivered: 1})
}

func checkDuplicateRedelivered(x *fixture) {
	o := x.original("k", []string{"a", "b"}, store.Delivered, store.Delivered)
	now := x.clock.Now()
	answer := x.repeat("k", true, o, store.DuplicateRedelivered)
	want := []store.Delivery{
		{Destination: "a", ReplayOf: 1, ID: store.DeliveryID{Message: o.Message, N: 3}},
		{Destination: "b", ReplayOf: 2, ID: store.DeliveryID{Message: o.Message, N: 4}},
	}
	for i := range want {
		want[i].State = store.Pending
		want[i].DueAt, want[i].CreatedAt, want[i].Since = now, now, now
		want[i].Generation = 1
		want[i].BodySize = int64(len(x.read(o.Message).Request.Body))
	}
	same(x, "answered deliveries", plainDeliveries(answer.Deliveries), want)
	same(x, "stored deliveries", plainDeliveries(x.deliveries(o.Message)[2:]), want)
	same(x, "books", x.books("a"), store.Books{Made: 2, Delivered: 1, Open: 1})
	x.unchanged("k", true, o, store.DuplicateOpen)
	same(x, "claimed", x.claimOne("a").ID.N, uint32(3))
}

func checkDuplicateRedeliveredOnce(x *fixture) {
	o := x.original("k", []string{"a", "a", "b"}, store.Delivered, store.Delivered, store.Delivered)
	answer := x.repeat("k", true, o, store.DuplicateRedelivered)
	same(x, "number of deliveries", len(answer.Deliveries), 2)
	same(x, "first replays", answer.Deliveries[0].ReplayOf, uint32(2))
	same(x, "second replays", answer.Deliveries[1].ReplayOf, uint32(3))
	for _, destination := range []string{"a", "b"} {
		d := x.claimOne(destination)
		x.finish(store.Finish{Lease: d.Lease(), State: store.Delivered})
	}
	answer = x.repeat("k", true, o, store.DuplicateRedelivered)
	same(x, "number of deliveries", len(answer.Deliveries), 2)
	for i, d := range answer.Deliveries {
		same(x, "replays", d.ReplayOf, uint32(4+i))
		same(x, "generation", d.Generation, uint32(2))
	}
}

func checkDuplicateRedriven(x *fixture) {
	o := x.original("k", []string{"a", "b", "c", "a"}, store.Dead, store.Delivered, store.Canceled, store.Dead)
	before := x.deliveries(o.Message)
	now := x.clock.Now()
	answer := x.repeat("k", true, o, store.DuplicateRedriven)
	want := plainDeliveries(before)
	for _, i := range []int{0, 3} {
		want[i].State = store.Pending
		want[i].Generation = 1
		want[i].DueAt, want[i].Since, want[i].EndedAt = now, now, time.Time{}
	}
	same(x, "answered deliveries", plainDeliveries(answer.Deliveries), []store.Delivery{want[0], want[3]})
	same(x, "stored deliveries", plainDeliveries(x.deliveries(o.Message)), want)
	same(x, "books", x.books("a"), store.Books{Made: 2, Open: 2})
}

func checkDuplicateRedrivenOnce(x *fixture) {
	o := x.original("k", []string{"a"}, store.Dead)
	answers := x.acceptAll(x.keyed("k", "a"), x.keyed("k", "a"))
	same(x, "first verdict", answers[0].Verdict, store.DuplicateRedriven)
	same(x, "second verdict", answers[1].Verdict, store.DuplicateOpen)
	d := x.claim("a", 10).Deliveries
	same(x, "number of claimed", len(d), 1)
	x.finish(store.Finish{Lease: d[0].Lease(), State: store.Dead})
	x.repeat("k", false, o, store.DuplicateRedriven)
	same(x, "generation", x.delivery(d[0].ID).Generation, uint32(2))
}

func checkDuplicateDeadAndOpen(x *fixture) {
	o := x.original("k", []string{"a", "b"}, store.Dead, 0)
	x.unchanged("k", true, o, store.DuplicateOpen)
}

func checkDuplicateCanceled(x *fixture) {
	o := x.original("k", []string{"a", "b"}, store.Delivered, store.Canceled)
	x.unchanged("k", false, o, store.DuplicateDelivered)
	answer := x.repeat("k", true, o, store.DuplicateRedelivered)
	same(x, "number of deliveries", len(answer.Deliveries), 2)
}

func checkDuplicatePurged(x *fixture) {
	o := x.original("k", []string{"a"}, store.Delivered)
	x.clock.advance(time.Hour)
	p, err := x.store.Purge(x.Context(), store.PurgeRequest{Finished: time.Hour, DedupeWindow: window})
	if err != nil || p.Messages != 1 {
		x.Fatalf("Purge: %+v, %v, want one message", p, err)
	}
	for _, redeliver := range []bool{false, true} {
		answer := x.repeat("k", redeliver, o, store.DuplicatePurged)
		same(x, "number of deliveries", len(answer.Deliveries), 0)
	}
	same(x, "books", x.books("a"), store.Books{Made: 1, Delivered: 1})
}

func checkDuplicateDeleted(x *fixture) {
	o := x.original("k", []string{"a"}, 0)
	if err := x.store.Delete(x.Context(), o.Message); err != nil {
		x.Fatalf("Delete: %v", err)
	}
	x.repeat("k", true, o, store.DuplicatePurged)
	same(x, "books", x.books("a"), store.Books{Made: 1, Deleted: 1})
}

func checkDuplicateKeyless(x *fixture) {
	for range 3 {
		same(x, "verdict", x.accept(x.acceptance("a")).Verdict, store.Fresh)
	}
	same(x, "books", x.books("a"), store.Books{Made: 3, Open: 3})
}

func checkDuplicateKeys(x *fixture) {
	key := keyOf("k")
	for _, i := range []int{-1, 0, 7, 8, 15} {
		a := x.acceptance("a")
		a.Key = key
		if i >= 0 {
			a.Key[i] ^= 1
		}
		same(x, "verdict", x.accept(a).Verdict, store.Fresh)
	}
}
