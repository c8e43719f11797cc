// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var operateChecks = []check{
	{"carries_out_a_batch", checkOperate},
	{"leaves_out_what_can_not_be_done", checkOperateRefused},
	{"goes_one_after_the_other", checkOperateOrder},
	{"A4_is_one_commit", checkOperateAtomic},
	{"deletes_only_what_has_ended", checkOperateDelete},
	{"P6_releases_lanes", checkOperateLanes},
}

func (x *fixture) operate(batch ...store.Operation) []store.Operated {
	x.Helper()
	answers, err := x.store.Operate(x.Context(), batch)
	if err != nil || len(answers) != len(batch) {
		x.Fatalf("Operate: %d answers for %d operations, error %v", len(answers), len(batch), err)
	}
	return answers
}

func onDelivery(action store.JobAction, id store.DeliveryID) store.Operation {
	return store.Operation{Action: action, Delivery: id}
}

func onMessage(action store.JobAction, id store.MessageID, to string) store.Operation {
	return store.Operation{Action: action, Delivery: store.DeliveryID{Message: id}, To: to}
}

func checkOperate(x *fixture) {
	dead, open, ended, gone := x.ended("a", store.Dead), x.pending("a"), x.ended("a", store.Delivered), x.ended("a", store.Dead)
	x.clock.advance(time.Hour)
	answers := x.operate(
		onDelivery(store.ActionRedrive, dead.ID), onDelivery(store.ActionCancel, open.ID),
		onMessage(store.ActionReplay, ended.ID.Message, "b"), onMessage(store.ActionDelete, gone.ID.Message, ""),
	)
	for i, want := range []store.Delivery{
		{ID: dead.ID, State: store.Pending, Generation: 1},
		{ID: open.ID, State: store.Canceled},
		{ID: store.DeliveryID{Message: ended.ID.Message, N: 2}, State: store.Pending},
		{},
	} {
		got := answers[i].Delivery
		if answers[i].Err != nil || got.ID != want.ID || got.State != want.State || got.Generation != want.Generation {
			x.Errorf("answer %d is %+v, want %+v", i, answers[i], want)
		}
		if got.State != 0 {
			sameDelivery(x, "stored delivery", x.delivery(got.ID), got)
		}
	}
	_, err := x.store.Message(x.Context(), gone.ID.Message)
	wants(x, "reading what was deleted", err, store.ErrNotFound)
	same(x, "books of a", x.books("a"), store.Books{Made: 4, Open: 1, Delivered: 1, Canceled: 1, Deleted: 1})
	same(x, "books of b", x.books("b"), store.Books{Made: 1, Open: 1})
	same(x, "claimed", x.claimOne("a").ID, dead.ID)
	same(x, "no operations", len(x.operate()), 0)
}

func checkOperateRefused(x *fixture) {
	dead, delivered := x.ended("a", store.Dead), x.ended("a", store.Delivered)
	unknown := x.ids.next()
	answers := x.operate(
		onDelivery(store.ActionRedrive, delivered.ID),
		onDelivery(store.ActionCancel, delivered.ID),
		onDelivery(store.ActionCancel, store.DeliveryID{Message: unknown, N: 1}),
		onMessage(store.ActionReplay, unknown, "a"),
		onMessage(store.ActionDelete, unknown, ""),
		onDelivery("destroy", dead.ID),
		onDelivery(store.ActionRedrive, dead.ID),
	)
	for i, want := range []error{
		store.ErrState, store.ErrState, store.ErrNotFound, store.ErrNotFound, store.ErrNotFound, store.ErrInvalid,
	} {
		wants(x, "operation of a batch", answers[i].Err, want)
		sameDelivery(x, "answered delivery", answers[i].Delivery, store.Delivery{})
	}
	if answers[6].Err != nil {
		x.Fatalf("what could be done was not: %v", answers[6].Err)
	}
	sameDelivery(x, "delivery", x.delivery(delivered.ID), delivered)
	same(x, "books", x.books("a"), store.Books{Made: 2, Open: 1, Delivered: 1})
}

// checkOperateOrder has operations of one batch concern the same message.
func checkOperateOrder(x *fixture) {
	d := x.ended("a", store.Dead)
	redrive, cancel := onDelivery(store.ActionRedrive, d.ID), onDelivery(store.ActionCancel, d.ID)
	replay, remove := onMessage(store.ActionReplay, d.ID.Message, "a"), onMessage(store.ActionDelete, d.ID.Message, "")
	second := onDelivery(store.ActionCancel, store.DeliveryID{Message: d.ID.Message, N: 2})
	answers := x.operate(redrive, redrive, remove, cancel, replay, remove, second, remove, remove, redrive, replay)
	for i, want := range []error{
		nil, store.ErrState, store.ErrState, nil, nil, store.ErrState, nil, nil, store.ErrNotFound, store.ErrNotFound, store.ErrNotFound,
	} {
		if !errors.Is(answers[i].Err, want) {
			x.Errorf("answer %d is %v, want %v", i, answers[i].Err, want)
		}
	}
	_, err := x.store.Deliveries(x.Context(), d.ID.Message)
	wants(x, "reading what was deleted", err, store.ErrNotFound)
	same(x, "books", x.books("a"), store.Books{Made: 2, Deleted: 2})
	x.clock.advance(time.Hour)
	same(x, "claimed", len(x.claim("a", 10).Deliveries), 0)
}

// checkOperateAtomic reads the books while batches change them.
func checkOperateAtomic(x *fixture) {
	const size = 20
	x.together(func(int) {
		for range rounds {
			a := x.acceptance()
			for range size {
				a.Deliveries = append(a.Deliveries, store.NewDelivery{Destination: a.Message.ID.String()})
			}
			if _, err := x.store.Accept(x.Context(), []store.Acceptance{a}); err != nil {
				x.Errorf("Accept: %v", err)
			}
			var batch []store.Operation
			for n := range uint32(size) {
				batch = append(batch, onDelivery(store.ActionCancel, store.DeliveryID{Message: a.Message.ID, N: n + 1}))
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				if _, err := x.store.Operate(x.Context(), batch); err != nil {
					x.Errorf("Operate: %v", err)
				}
			}()
			for done := false; !done; {
				select {
				case <-ended:
					done = true
				default:
				}
				all, err := x.store.Books(x.Context())
				if b := all[a.Message.ID.String()]; err != nil || b.Open != 0 && b.Open != size || done && b.Canceled != size {
					x.Errorf("books %+v in the midst of a batch, error %v", b, err)
					done = true
				}
			}
			<-ended
		}
	})
}

func checkOperateDelete(x *fixture) {
	o := x.original("k", []string{"a", "b", "c", "a"}, store.Delivered, store.Dead, store.Canceled, store.Delivered)
	again := x.redrive(o.Deliveries[1].ID)
	remove := onMessage(store.ActionDelete, o.Message, "")
	wants(x, "deleting what has an open delivery", x.operate(remove)[0].Err, store.ErrState)
	x.read(o.Message)
	x.cancel(again.ID)
	if answer := x.operate(remove)[0]; answer.Err != nil {
		x.Fatalf("deleting what has ended: %v", answer.Err)
	}
	_, err := x.store.Attempts(x.Context(), o.Deliveries[0].ID)
	wants(x, "reading the attempts of a deleted message", err, store.ErrNotFound)
	same(x, "books of a", x.books("a"), store.Books{Made: 2, Deleted: 2})
	same(x, "books of b", x.books("b"), store.Books{Made: 1, Deleted: 1})
	for _, q := range []store.DeliveryQuery{{}, {State: store.Dead}, {Source: "shop"}} {
		q.Limit = 10
		listed, err := x.store.ListDeliveries(x.Context(), q)
		if err != nil || len(listed) != 0 {
			x.Fatalf("deliveries listed after the delete: %+v, error %v", listed, err)
		}
	}
	// The key outlives the message.
	same(x, "verdict", x.accept(x.keyed("k", "a")).Verdict, store.DuplicatePurged)
}

func checkOperateLanes(x *fixture) {
	for _, free := range []func(dead store.Delivery) store.Operation{
		func(dead store.Delivery) store.Operation { return onDelivery(store.ActionCancel, dead.ID) },
		func(dead store.Delivery) store.Operation { return onMessage(store.ActionDelete, dead.ID.Message, "") },
	} {
		dead, next := x.held("k")
		last := x.join("k", lease)
		// Of what leaves the lane in one batch, each releases the one behind it.
		x.operate(free(dead), onDelivery(store.ActionCancel, next.ID))
		x.end(x.head(last.ID), store.Delivered, false)
	}
}
