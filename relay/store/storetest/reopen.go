// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var reopenChecks = []check{
	{"keeps_messages_deliveries_and_attempts", checkReopenMessages},
	{"C8_C9_lets_leased_deliveries_be_claimed_again", checkReopenLeases},
	{"C6_keeps_dedupe_keys", checkReopenKeys},
	{"C6_keeps_dedupe_keys_without_a_message", checkReopenKeysAlone},
	{"C13_keeps_callbacks", checkReopenCallbacks},
	{"C15_keeps_what_waits", checkReopenWaiting},
	{"P6_keeps_lanes", checkReopenLanes},
	{"C17_keeps_what_was_purged_away", checkReopenPurge},
	{"keeps_operator_actions", checkReopenOperator},
	{"P14_keeps_books", checkReopenBooks},
	{"keeps_entities", checkReopenEntities},
}

// reopen closes the store and opens it again.
func (x *fixture) reopen() {
	x.Helper()
	x.store = x.backend.Reopen()
}

func checkReopenKeysAlone(x *fixture) {
	seen := x.rememberKey("k")
	for range 2 {
		x.reopen()
		same(x, "recalled", x.recall("k"), seen)
		x.forgotten("other")
		x.repeat("k", false, store.Accepted{Message: seen.Message, AcceptedAt: seen.AcceptedAt}, store.DuplicatePurged)
	}
}

func checkReopenMessages(x *fixture) {
	var accepted []store.Acceptance
	for i := range 30 {
		a := x.acceptance()
		a.Deliveries = to(lease, "a", "b")
		answer := x.accept(a)
		accepted = append(accepted, a)
		f := store.Finish{Lease: answer.Deliveries[0].Lease(), State: store.Delivered, Attempt: attempt(store.Succeeded, 200+i, "")}
		if i%3 == 0 {
			f.State = store.Dead
		}
		x.finish(f)
		x.finish(store.Finish{Lease: answer.Deliveries[1].Lease(), State: store.Canceled})
		x.clock.advance(time.Millisecond)
	}
	deliveries := x.deliveryIDs(store.DeliveryQuery{})
	before := make(map[store.DeliveryID]store.Delivery)
	attempts := make(map[store.DeliveryID][]store.Attempt)
	for _, id := range deliveries {
		before[id] = x.delivery(id)
		attempts[id] = plainAttempts(x.attempts(id))
	}
	for range 2 {
		x.reopen()
		same(x, "deliveries", x.deliveryIDs(store.DeliveryQuery{}), deliveries)
		for _, a := range accepted {
			same(x, "message", plainMessage(*x.read(a.Message.ID)), plainMessage(*a.Message))
		}
		for _, id := range deliveries {
			sameDelivery(x, "delivery", x.delivery(id), before[id])
			same(x, "attempts", plainAttempts(x.attempts(id)), attempts[id])
		}
		same(x, "messages", len(x.messageIDs(store.MessageQuery{Source: "shop"})), 30)
	}
}

func checkReopenLeases(x *fixture) {
	x.accept(x.acceptance("a"))
	claimed := x.claimOne("a")
	inserted := x.leased("a")
	old := []store.Delivery{claimed, inserted}
	x.reopen()
	if x.store.Caps().Shared {
		x.clock.advance(lease)
	} else {
		for _, d := range old {
			late := x.finishAll(store.Finish{Lease: d.Lease(), State: store.Delivered})[0]
			wants(x, "finishing under a lease of before", late.Err, store.ErrLeaseLost)
		}
	}
	c := x.claim("a", 10)
	same(x, "number of claimed", len(c.Deliveries), 2)
	for i, d := range c.Deliveries {
		same(x, "claimed", d.ID, old[i].ID)
		same(x, "due", instant(d.DueAt), instant(old[i].DueAt))
		x.finish(store.Finish{Lease: d.Lease(), State: store.Delivered})
	}
	x.clock.advance(time.Hour)
	same(x, "claimed later", len(x.claim("a", 10).Deliveries), 0)
	same(x, "books", x.books("a"), store.Books{Made: 2, Delivered: 2})
}

func checkReopenKeys(x *fixture) {
	open := x.original("open", []string{"a"}, 0)
	delivered := x.original("delivered", []string{"a"}, store.Delivered)
	dead := x.original("dead", []string{"a"}, store.Dead)
	deleted := x.original("deleted", []string{"a"}, store.Delivered)
	if err := x.store.Delete(x.Context(), deleted.Message); err != nil {
		x.Fatalf("Delete: %v", err)
	}
	x.clock.advance(3 * 24 * time.Hour)
	x.reopen()
	x.repeat("open", false, open, store.DuplicateOpen)
	x.repeat("delivered", false, delivered, store.DuplicateDelivered)
	x.repeat("dead", false, dead, store.DuplicateRedriven)
	x.repeat("deleted", false, deleted, store.DuplicatePurged)
	x.expire(deleted.AcceptedAt, window)
	x.reopen()
	same(x, "verdict after the window", x.accept(x.keyed("delivered", "a")).Verdict, store.Fresh)
}

func checkReopenCallbacks(x *fixture) {
	d := x.leased("a")
	callback := x.acceptance("endpoint")
	x.finish(store.Finish{Lease: d.Lease(), State: store.Delivered, Callbacks: []store.Acceptance{callback}})
	x.reopen()
	same(x, "state", x.delivery(d.ID).State, store.Delivered)
	c := x.claim("endpoint", 10)
	same(x, "number of claimed", len(c.Deliveries), 1)
	same(x, "claimed", c.Deliveries[0].ID.Message, callback.Message.ID)
}

func checkReopenWaiting(x *fixture) {
	d := x.leased("a")
	due := x.finish(store.Finish{Lease: d.Lease(), State: store.Waiting, Delay: time.Hour}).Delivery.DueAt
	x.reopen()
	x.clock.advance(time.Hour - time.Millisecond)
	c := x.claim("a", 1)
	same(x, "claimed early", len(c.Deliveries), 0)
	same(x, "next", instant(c.Next), instant(due))
	x.clock.advance(time.Millisecond)
	same(x, "claimed when due", len(x.claim("a", 1).Deliveries), 1)
}

func checkReopenPurge(x *fixture) {
	o := x.original("k", []string{"a"}, store.Delivered)
	kept := x.original("kept", []string{"a"}, 0)
	x.clock.advance(2 * time.Hour)
	same(x, "purged", x.purge(store.PurgeRequest{Finished: time.Hour}).Messages, 1)
	x.reopen()
	same(x, "messages", x.messageIDs(store.MessageQuery{}), []store.MessageID{kept.Message})
	same(x, "messages by source", x.messageIDs(store.MessageQuery{Source: "shop"}), []store.MessageID{kept.Message})
	same(x, "deliveries", x.deliveryIDs(store.DeliveryQuery{}), []store.DeliveryID{kept.Deliveries[0].ID})
	x.repeat("k", false, o, store.DuplicatePurged)
	same(x, "books", x.books("a"), store.Books{Made: 2, Delivered: 1, Open: 1})
}

func checkReopenOperator(x *fixture) {
	redriven := x.ended("a", store.Dead)
	replayed := x.ended("a", store.Delivered)
	canceled := x.leased("a")
	want := []store.Delivery{
		x.redrive(redriven.ID), x.replay(replayed.ID.Message, "a"), x.cancel(canceled.ID),
	}
	x.reopen()
	for _, d := range want {
		sameDelivery(x, "delivery", x.delivery(d.ID), d)
	}
	c := x.claim("a", 10)
	same(x, "number of claimed", len(c.Deliveries), 2)
}

func checkReopenBooks(x *fixture) {
	x.original("k", []string{"a", "a", "b", "b"}, store.Delivered, store.Dead, store.Canceled, 0)
	gone := x.accept(x.acceptance("a", "b"))
	if err := x.store.Delete(x.Context(), gone.Message); err != nil {
		x.Fatalf("Delete: %v", err)
	}
	for range 3 {
		same(x, "books of a", x.books("a"), store.Books{Made: 3, Delivered: 1, Dead: 1, Deleted: 1})
		same(x, "books of b", x.books("b"), store.Books{Made: 3, Canceled: 1, Open: 1, Deleted: 1})
		x.reopen()
	}
}

func checkReopenEntities(x *fixture) {
	var all []store.Entity
	for i := range 3 {
		for _, e := range entities("acme", fmt.Sprint(i), i%2 == 0) {
			x.put(e)
			all = append(all, e)
		}
	}
	x.reopen()
	for _, e := range all {
		sameEntity(x, x.entity(e.Key()), e)
		x.put(e)
		if err := x.store.DeleteEntity(x.Context(), e.Key()); err != nil {
			x.Fatalf("DeleteEntity: %v", err)
		}
	}
	x.reopen()
	for _, kind := range []store.EntityKind{store.KindTenant, store.KindEndpoint, store.KindSecret, store.KindPause, store.KindJob} {
		for _, tenant := range []string{"", "acme"} {
			same(x, "entities", len(x.entityIDs(store.EntityQuery{Kind: kind, Tenant: tenant, Limit: 10})), 0)
		}
	}
}

func checkReopenLanes(x *fixture) {
	held, behind := x.held("held")
	waiting, next := x.join("k", lease), x.join("k", lease)
	x.finish(store.Finish{Lease: waiting.Lease(), State: store.Waiting, Delay: time.Hour})
	x.reopen()
	x.blocked(behind.ID)
	x.blocked(next.ID)
	last := x.join("k", lease)
	if !last.Blocked() || last.Place <= next.Place {
		x.Fatalf("joined behind %d: %+v", next.Place, last)
	}
	c := x.claim("a", 10)
	same(x, "claimed while the head waits", len(c.Deliveries), 0)
	x.clock.advance(time.Hour)
	x.end(x.head(waiting.ID), store.Delivered, true)
	leased := x.head(next.ID)
	x.reopen()
	if x.store.Caps().Shared {
		x.clock.advance(lease)
	}
	x.blocked(last.ID)
	x.end(x.head(leased.ID), store.Delivered, true)
	x.reopen()
	x.end(x.head(last.ID), store.Delivered, false)
	x.end(x.join("k", lease), store.Delivered, false)
	x.redrive(held.ID)
	x.reopen()
	x.end(x.head(held.ID), store.Delivered, true)
	x.end(x.head(behind.ID), store.Delivered, false)
}
