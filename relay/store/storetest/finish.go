// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var finishChecks = []check{
	{"ends_a_delivery", checkFinishFinal},
	{"lets_a_delivery_wait", checkFinishWaiting},
	{"gives_a_delivery_back_as_it_was", checkFinishPending},
	{"gives_a_waiting_delivery_back_as_it_was", checkFinishPendingAgain},
	{"numbers_and_counts_attempts", checkFinishAttempts},
	{"keeps_attempts_whole", checkFinishAttemptWhole},
	{"without_an_attempt_keeps_the_last", checkFinishNoAttempt},
	{"is_fenced_by_epoch", checkFinishFenced},
	{"records_a_superseded_attempt", checkFinishSuperseded},
	{"happens_once", checkFinishTwice},
	{"of_what_was_never_leased_is_refused", checkFinishNeverLeased},
	{"of_an_unknown_delivery_is_not_found", checkFinishUnknown},
	{"answers_a_batch_in_order", checkFinishBatch},
	{"P9_accepts_its_callbacks", checkFinishCallbacks},
	{"P9_accepts_no_callback_when_the_lease_is_lost", checkFinishCallbacksLost},
	{"refuses_a_state_that_is_none", checkFinishInvalid},
}

func attempt(outcome store.Outcome, status int, err string) *store.Attempt {
	return &store.Attempt{Outcome: outcome, Status: status, Error: err, Duration: 20 * time.Millisecond}
}

func checkFinishFinal(x *fixture) {
	for _, c := range []struct {
		state store.State
		books store.Books
	}{
		{store.Delivered, store.Books{Made: 1, Delivered: 1}},
		{store.Dead, store.Books{Made: 1, Dead: 1}},
		{store.Canceled, store.Books{Made: 1, Canceled: 1}},
	} {
		d := x.leased(c.state.String())
		x.clock.advance(time.Second)
		want := d
		want.State = c.state
		want.EndedAt = x.clock.Now()
		want.DueAt, want.LeaseUntil = time.Time{}, time.Time{}
		want.Attempts, want.Tries, want.LastStatus, want.LastError = 1, 1, 410, "gone"
		answer := x.finish(store.Finish{Lease: d.Lease(), State: c.state, Attempt: attempt(store.Refused, 410, "gone")})
		sameDelivery(x, "answered delivery", answer.Delivery, want)
		sameDelivery(x, "stored delivery", x.delivery(d.ID), want)
		same(x, "books", x.books(c.state.String()), c.books)
	}
}

func checkFinishWaiting(x *fixture) {
	d := x.leased("a")
	x.clock.advance(time.Second)
	f := store.Finish{Lease: d.Lease(), State: store.Waiting, Delay: time.Minute, Attempt: attempt(store.Refused, 500, "status 500")}
	answer := x.finish(f)
	want := d
	want.State = store.Waiting
	want.DueAt = x.clock.Now().Add(time.Minute)
	want.LeaseUntil = time.Time{}
	want.Attempts, want.Tries, want.LastStatus, want.LastError = 1, 1, 500, "status 500"
	sameDelivery(x, "answered delivery", answer.Delivery, want)
	sameDelivery(x, "stored delivery", x.delivery(d.ID), want)
	same(x, "books", x.books("a"), store.Books{Made: 1, Open: 1})
	x.clock.advance(time.Minute)
	c := x.claim("a", 1)
	same(x, "number of claimed", len(c.Deliveries), 1)
	want.State = store.Leased
	want.Epoch = c.Deliveries[0].Epoch
	want.LeaseUntil = x.clock.Now().Add(lease)
	sameDelivery(x, "claimed delivery", c.Deliveries[0], want)
}

func checkFinishPending(x *fixture) {
	d := x.leased("a")
	x.clock.advance(time.Second)
	answer := x.finish(store.Finish{Lease: d.Lease(), State: store.Pending, Delay: time.Hour, Attempt: attempt(store.Aborted, 0, "shutdown")})
	want := d
	want.State = store.Pending
	want.LeaseUntil = time.Time{}
	want.Attempts, want.LastError = 1, "shutdown"
	sameDelivery(x, "answered delivery", answer.Delivery, want)
	sameDelivery(x, "stored delivery", x.delivery(d.ID), want)
	same(x, "number of attempts", len(x.attempts(d.ID)), 1)
	same(x, "claimed at once", len(x.claim("a", 1).Deliveries), 1)
}

func checkFinishPendingAgain(x *fixture) {
	d := x.leased("a")
	due := x.finish(store.Finish{Lease: d.Lease(), State: store.Waiting, Delay: time.Minute}).Delivery.DueAt
	x.clock.advance(time.Hour)
	c := x.claimOne("a")
	same(x, "due while leased", instant(c.DueAt), instant(due))
	x.finish(store.Finish{Lease: c.Lease(), State: store.Pending})
	back := x.delivery(d.ID)
	same(x, "due when given back", instant(back.DueAt), instant(due))
	same(x, "state when given back", back.State, store.Pending)
}

func checkFinishAttempts(x *fixture) {
	d := x.leased("a")
	tries, number := uint32(0), uint32(0)
	for outcome := store.Succeeded; outcome <= store.Quarantined; outcome++ {
		f := store.Finish{Lease: d.Lease(), State: store.Waiting, Attempt: attempt(outcome, 0, outcome.String())}
		f.Attempt.Number = 77
		f.Attempt.Superseded = true
		answer := x.finish(f).Delivery
		number++
		if outcome.Counted() {
			tries++
		}
		same(x, "attempts after "+outcome.String(), answer.Attempts, number)
		same(x, "tries after "+outcome.String(), answer.Tries, tries)
		same(x, "attempt of the caller", *f.Attempt, store.Attempt{
			Number: 77, Superseded: true, Outcome: outcome, Error: outcome.String(), Duration: 20 * time.Millisecond,
		})
		d = x.claimOne("a")
	}
	for i, a := range x.attempts(d.ID) {
		same(x, "number", a.Number, uint32(i+1))
		same(x, "outcome", a.Outcome, store.Outcome(i+1))
		same(x, "superseded", a.Superseded, false)
	}
	same(x, "tries", tries, uint32(6))
}

func checkFinishAttemptWhole(x *fixture) {
	d := x.leased("a")
	want := store.Attempt{
		Number:    1,
		StartedAt: x.clock.Now().Add(-3 * time.Microsecond),
		Duration:  1234567 * time.Microsecond,
		Outcome:   store.Refused,
		Status:    http.StatusTeapot,
		Error:     "status 418: \xff\x00 \u2615",
		Head:      []byte("short and stout \xff\x00\n"),
	}
	given := want
	given.Head = append([]byte(nil), want.Head...)
	x.finish(store.Finish{Lease: d.Lease(), State: store.Waiting, Attempt: &given})
	clear(given.Head)
	same(x, "attempts", plainAttempts(x.attempts(d.ID)), []store.Attempt{want})
	clear(x.attempts(d.ID)[0].Head)
	same(x, "attempts read again", plainAttempts(x.attempts(d.ID)), []store.Attempt{want})
	same(x, "last error", x.delivery(d.ID).LastError, want.Error)
}

func checkFinishNoAttempt(x *fixture) {
	d := x.leased("a")
	x.finish(store.Finish{Lease: d.Lease(), State: store.Waiting, Attempt: attempt(store.Refused, 500, "status 500")})
	d = x.claimOne("a")
	x.finish(store.Finish{Lease: d.Lease(), State: store.Waiting})
	d = x.claimOne("a")
	same(x, "last status", d.LastStatus, 500)
	same(x, "last error", d.LastError, "status 500")
	same(x, "number of attempts", d.Attempts, uint32(1))
	d = x.finish(store.Finish{Lease: d.Lease(), State: store.Delivered, Attempt: attempt(store.Succeeded, 204, "")}).Delivery
	same(x, "last status", d.LastStatus, 204)
	same(x, "last error", d.LastError, "")
}

func checkFinishFenced(x *fixture) {
	old := x.leased("a")
	x.clock.advance(lease)
	held := x.claimOne("a")
	for _, state := range []store.State{store.Delivered, store.Dead, store.Canceled, store.Waiting, store.Pending} {
		for _, epoch := range []uint64{0, old.Epoch, held.Epoch + 1} {
			l := store.Lease{Delivery: old.ID, Epoch: epoch}
			answer := x.finishAll(store.Finish{Lease: l, State: state, Delay: time.Hour})[0]
			wants(x, "finishing under another epoch", answer.Err, store.ErrLeaseLost)
			sameDelivery(x, "answered delivery", answer.Delivery, held)
		}
	}
	sameDelivery(x, "stored delivery", x.delivery(old.ID), held)
	same(x, "books", x.books("a"), store.Books{Made: 1, Open: 1})
	x.finish(store.Finish{Lease: held.Lease(), State: store.Delivered})
}

func checkFinishSuperseded(x *fixture) {
	old := x.leased("a")
	x.clock.advance(lease)
	held := x.claimOne("a")
	answer := x.finishAll(store.Finish{Lease: old.Lease(), State: store.Delivered, Attempt: attempt(store.Succeeded, 200, "late")})[0]
	wants(x, "finishing late", answer.Err, store.ErrLeaseLost)
	want := held
	want.Attempts = 1
	sameDelivery(x, "answered delivery", answer.Delivery, want)
	sameDelivery(x, "stored delivery", x.delivery(old.ID), want)
	done := x.finish(store.Finish{Lease: held.Lease(), State: store.Dead, Attempt: attempt(store.Refused, 500, "no")}).Delivery
	same(x, "tries", done.Tries, uint32(1))
	same(x, "number of attempts", done.Attempts, uint32(2))

	x.finishAll(store.Finish{Lease: held.Lease(), State: store.Delivered, Attempt: attempt(store.Succeeded, 200, "later")})
	got := x.attempts(old.ID)
	same(x, "number of recorded attempts", len(got), 3)
	for i, superseded := range []bool{true, false, true} {
		same(x, "superseded", got[i].Superseded, superseded)
		same(x, "number", got[i].Number, uint32(i+1))
	}
	ended := x.delivery(old.ID)
	same(x, "last status", ended.LastStatus, 500)
	same(x, "state", ended.State, store.Dead)
}

func checkFinishTwice(x *fixture) {
	d := x.leased("a")
	answers := x.finishAll(
		store.Finish{Lease: d.Lease(), State: store.Delivered},
		store.Finish{Lease: d.Lease(), State: store.Dead},
	)
	same(x, "first error", answers[0].Err, nil)
	wants(x, "finishing twice in a batch", answers[1].Err, store.ErrLeaseLost)
	answer := x.finishAll(store.Finish{Lease: d.Lease(), State: store.Dead})[0]
	wants(x, "finishing twice", answer.Err, store.ErrLeaseLost)
	same(x, "state", x.delivery(d.ID).State, store.Delivered)
	same(x, "books", x.books("a"), store.Books{Made: 1, Delivered: 1})
}

func checkFinishNeverLeased(x *fixture) {
	d := x.pending("a")
	answer := x.finishAll(store.Finish{Lease: d.Lease(), State: store.Delivered})[0]
	wants(x, "finishing a pending delivery", answer.Err, store.ErrLeaseLost)
	sameDelivery(x, "stored delivery", x.delivery(d.ID), d)
}

func checkFinishUnknown(x *fixture) {
	d := x.leased("a")
	unknown := []store.DeliveryID{
		{Message: x.ids.next(), N: 1}, {Message: d.ID.Message, N: 2}, {Message: d.ID.Message}, {},
	}
	for _, id := range unknown {
		f := store.Finish{Lease: store.Lease{Delivery: id, Epoch: 1}, State: store.Delivered, Attempt: attempt(store.Succeeded, 200, "")}
		answer := x.finishAll(f)[0]
		wants(x, "finishing "+id.String(), answer.Err, store.ErrNotFound)
		_, err := x.store.Attempts(x.Context(), id)
		wants(x, "reading the attempts of "+id.String(), err, store.ErrNotFound)
	}
}

func checkFinishBatch(x *fixture) {
	var batch []store.Finish
	states := []store.State{store.Delivered, store.Dead, store.Canceled, store.Waiting, store.Pending}
	for _, state := range states {
		d := x.leased("a")
		batch = append(batch, store.Finish{Lease: d.Lease(), State: state, Delay: time.Hour})
	}
	stale := batch[0]
	stale.Lease.Epoch++
	batch = append(batch[:2:2], append([]store.Finish{stale}, batch[2:]...)...)
	for i, answer := range x.finishAll(batch...) {
		if i == 2 {
			wants(x, "stale finish", answer.Err, store.ErrLeaseLost)
			continue
		}
		same(x, "error", answer.Err, nil)
		same(x, "delivery", answer.Delivery.ID, batch[i].Lease.Delivery)
		same(x, "state", answer.Delivery.State, batch[i].State)
	}
	same(x, "books", x.books("a"), store.Books{Made: 5, Delivered: 1, Dead: 1, Canceled: 1, Open: 2})
}

func checkFinishCallbacks(x *fixture) {
	callback := x.acceptance("endpoint")
	callback.Message.PublicID = "msg_made"
	callback.Deliveries = to(lease, "endpoint")
	keyed, again := x.keyed("k", "endpoint"), x.keyed("k", "endpoint")
	d, other := x.leased("a"), x.leased("a")
	answers := x.finishAll(
		store.Finish{Lease: d.Lease(), State: store.Delivered, Callbacks: []store.Acceptance{callback, keyed}},
		store.Finish{Lease: other.Lease(), State: store.Delivered, Callbacks: []store.Acceptance{again}},
	)
	same(x, "errors", errors.Join(answers[0].Err, answers[1].Err), nil)
	same(x, "number of callbacks", len(answers[0].Callbacks), 2)
	same(x, "verdict", answers[0].Callbacks[0].Verdict, store.Fresh)
	same(x, "state", answers[0].Callbacks[0].Deliveries[0].State, store.Leased)
	same(x, "verdict", answers[0].Callbacks[1].Verdict, store.Fresh)
	same(x, "verdict on the repeat", answers[1].Callbacks[0].Verdict, store.DuplicateOpen)
	m, err := x.store.Message(x.Context(), callback.Message.ID)
	if err != nil {
		x.Fatalf("Message: %v", err)
	}
	same(x, "callback", plainMessage(*m), plainMessage(*callback.Message))
	same(x, "books", x.books("endpoint"), store.Books{Made: 2, Open: 2})
	same(x, "claimed", len(x.claim("endpoint", 10).Deliveries), 1)
}

func checkFinishCallbacksLost(x *fixture) {
	d := x.leased("a")
	callback := x.keyed("k", "endpoint")
	f := store.Finish{Lease: d.Lease(), State: store.Delivered, Callbacks: []store.Acceptance{callback}}
	f.Lease.Epoch++
	answer := x.finishAll(f)[0]
	wants(x, "finishing under another epoch", answer.Err, store.ErrLeaseLost)
	same(x, "number of callbacks", len(answer.Callbacks), 0)
	_, err := x.store.Message(x.Context(), callback.Message.ID)
	wants(x, "reading the callback", err, store.ErrNotFound)
	same(x, "books", x.books("endpoint"), store.Books{})
	f.Lease = d.Lease()
	same(x, "verdict", x.finish(f).Callbacks[0].Verdict, store.Fresh)
}

func checkFinishInvalid(x *fixture) {
	d, other := x.leased("a"), x.leased("a")
	for _, state := range []store.State{0, store.Leased, store.Canceled + 1} {
		_, err := x.store.Finish(x.Context(), []store.Finish{
			{Lease: other.Lease(), State: store.Delivered}, {Lease: d.Lease(), State: state},
		})
		wants(x, "finishing as "+state.String(), err, store.ErrInvalid)
	}
	callback := x.acceptance("endpoint")
	callback.Message = nil
	_, err := x.store.Finish(x.Context(), []store.Finish{
		{Lease: other.Lease(), State: store.Delivered},
		{Lease: d.Lease(), State: store.Dead, Callbacks: []store.Acceptance{x.acceptance("endpoint"), callback}},
	})
	wants(x, "finishing with a callback without a message", err, store.ErrInvalid)
	same(x, "books of the callbacks", x.books("endpoint"), store.Books{})
	sameDelivery(x, "stored delivery", x.delivery(d.ID), d)
	sameDelivery(x, "other delivery of the batch", x.delivery(other.ID), other)
}
