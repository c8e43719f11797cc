// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var concurrencyChecks = []check{
	{"P2_P4_one_key_is_accepted_once", checkConcurrentAccept},
	{"P4_an_expired_key_is_accepted_once", checkConcurrentExpired},
	{"P5_a_dead_message_is_redriven_once", checkConcurrentRedrive},
	{"claims_no_delivery_twice", checkConcurrentClaim},
	{"finishes_a_lease_once", checkConcurrentFinish},
	{"P14_books_balance_while_all_goes_on", checkConcurrentBooks},
}

const (
	workers = 16
	rounds  = 12
)

// together runs work in many goroutines that start at once. Work must not end
// the test, only report.
func (x *fixture) together(work func(worker int)) {
	start := make(chan struct{})
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			<-start
			work(worker)
		})
	}
	close(start)
	group.Wait()
}

// race accepts one key per round from all workers at once, and checks that the
// verdict is expected from exactly one of them and that all others got a
// duplicate of the same message, which can be read.
func (x *fixture) race(expected store.Verdict) []store.MessageID {
	x.Helper()
	answers := make([][]store.Accepted, workers)
	x.together(func(worker int) {
		for round := range rounds {
			a := x.keyed(fmt.Sprint("k", round), "a")
			got, err := x.store.Accept(x.Context(), []store.Acceptance{x.acceptance("b"), a})
			if err != nil {
				x.Errorf("Accept: %v", err)
				return
			}
			if _, err := x.store.Message(x.Context(), got[1].Message); err != nil {
				x.Errorf("message of verdict %s: %v", got[1].Verdict, err)
			}
			answers[worker] = append(answers[worker], got[1])
		}
	})
	if x.Failed() {
		x.FailNow()
	}
	var ids []store.MessageID
	for round := range rounds {
		won := 0
		for worker := range workers {
			answer := answers[worker][round]
			same(x, "message", answer.Message, answers[0][round].Message)
			if answer.Verdict == expected {
				won++
			} else {
				same(x, "verdict of the others", answer.Verdict, store.DuplicateOpen)
			}
		}
		same(x, fmt.Sprintf("number of answers with verdict %s", expected), won, 1)
		ids = append(ids, answers[0][round].Message)
	}
	return ids
}

func checkConcurrentAccept(x *fixture) {
	x.race(store.Fresh)
	same(x, "books of a", x.books("a"), store.Books{Made: rounds, Open: rounds})
	same(x, "books of b", x.books("b"), store.Books{Made: workers * rounds, Open: workers * rounds})
	same(x, "claimed", len(x.claim("a", 1000).Deliveries), rounds)
}

func checkConcurrentExpired(x *fixture) {
	now := x.clock.Now()
	old := x.race(store.Fresh)
	x.expire(now, window)
	for round, id := range x.race(store.Fresh) {
		if id == old[round] {
			x.Fatalf("message %s is still the one of the key after its window", id)
		}
	}
}

func checkConcurrentRedrive(x *fixture) {
	for _, id := range x.race(store.Fresh) {
		d := x.claimOne("a")
		same(x, "claimed", d.ID.Message, id)
		x.finish(store.Finish{Lease: d.Lease(), State: store.Dead})
	}
	x.race(store.DuplicateRedriven)
	same(x, "books", x.books("a"), store.Books{Made: rounds, Open: rounds})
}

func checkConcurrentClaim(x *fixture) {
	const deliveries = 400
	var batch []store.Acceptance
	for range deliveries {
		batch = append(batch, x.acceptance("a"))
	}
	x.acceptAll(batch...)
	var mu sync.Mutex
	seen := make(map[store.DeliveryID]int)
	x.together(func(int) {
		for {
			c, err := x.store.Claim(x.Context(), store.ClaimRequest{Destination: "a", Limit: 7, Lease: lease})
			if err != nil {
				x.Errorf("Claim: %v", err)
				return
			}
			mu.Lock()
			for _, d := range c.Deliveries {
				seen[d.ID]++
			}
			mu.Unlock()
			if len(c.Deliveries) == 0 && !c.More {
				return
			}
		}
	})
	same(x, "number of claimed deliveries", len(seen), deliveries)
	for id, times := range seen {
		same(x, "claims of "+id.String(), times, 1)
	}
}

func checkConcurrentFinish(x *fixture) {
	leases := make([]store.Lease, rounds)
	for i := range leases {
		d := x.leased("a")
		leases[i] = d.Lease()
	}
	var mu sync.Mutex
	won := make(map[store.DeliveryID]int)
	x.together(func(worker int) {
		state := []store.State{store.Delivered, store.Dead, store.Canceled}[worker%3]
		for _, l := range leases {
			f := store.Finish{Lease: l, State: state, Attempt: attempt(store.Refused, 500+worker, "")}
			f.Callbacks = []store.Acceptance{x.acceptance("endpoint")}
			got, err := x.store.Finish(x.Context(), []store.Finish{f})
			if err != nil {
				x.Errorf("Finish: %v", err)
				return
			}
			if got[0].Err == nil {
				mu.Lock()
				won[l.Delivery]++
				mu.Unlock()
			}
		}
	})
	for _, l := range leases {
		same(x, "successful finishes", won[l.Delivery], 1)
		d := x.delivery(l.Delivery)
		same(x, "tries", d.Tries, uint32(1))
		same(x, "number of attempts", d.Attempts, uint32(workers))
		effective := 0
		for i, a := range x.attempts(l.Delivery) {
			same(x, "number", a.Number, uint32(i+1))
			if !a.Superseded {
				effective++
				same(x, "last status", d.LastStatus, a.Status)
			}
		}
		same(x, "attempts that are not superseded", effective, 1)
	}
	same(x, "books of the callbacks", x.books("endpoint"), store.Books{Made: rounds, Open: rounds})
}

func checkConcurrentBooks(x *fixture) {
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			books, err := x.store.Books(x.Context())
			if err != nil {
				x.Errorf("Books: %v", err)
				return
			}
			for d, b := range books {
				if !b.Balanced() {
					x.Errorf("books of %s do not add up: %+v", d, b)
				}
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	x.together(func(worker int) {
		for range rounds {
			if err := x.lifeOf(worker); err != nil {
				x.Errorf("worker %d: %v", worker, err)
				return
			}
		}
	})
	close(done)
	reader.Wait()
	b := x.books("a")
	same(x, "made", b.Made, uint64(2*workers*rounds))
	counted := x.tally("a")
	counted.Made, counted.Deleted = b.Made, b.Deleted
	same(x, "books", b, counted)
}

// tally counts the deliveries of a destination by their states.
func (x *fixture) tally(destination string) store.Books {
	x.Helper()
	listed, err := x.store.ListDeliveries(x.Context(), store.DeliveryQuery{Destination: destination, Limit: everything})
	if err != nil {
		x.Fatalf("ListDeliveries: %v", err)
	}
	var counted store.Books
	for _, d := range listed {
		switch {
		case d.State.Open():
			counted.Open++
		case d.State == store.Delivered:
			counted.Delivered++
		case d.State == store.Dead:
			counted.Dead++
		case d.State == store.Canceled:
			counted.Canceled++
		}
	}
	return counted
}

// lifeOf takes one message through a life that depends on the worker. Two
// deliveries are made of it.
func (x *fixture) lifeOf(worker int) error {
	ctx := x.Context()
	a := x.acceptance()
	a.Deliveries = to(time.Hour, "a")
	answers, err := x.store.Accept(ctx, []store.Acceptance{a})
	if err != nil {
		return fmt.Errorf("accepting: %w", err)
	}
	d := answers[0].Deliveries[0]
	state := []store.State{store.Delivered, store.Dead, store.Waiting, store.Pending}[worker%4]
	if _, err = x.store.Finish(ctx, []store.Finish{{Lease: d.Lease(), State: state, Delay: time.Hour, Attempt: attempt(store.Refused, 500, "")}}); err != nil {
		return fmt.Errorf("finishing: %w", err)
	}
	if _, err = x.store.Replay(ctx, d.ID.Message, "a"); err != nil {
		return fmt.Errorf("replaying: %w", err)
	}
	switch state {
	case store.Dead:
		_, err = x.store.Redrive(ctx, d.ID)
	case store.Waiting:
		_, err = x.store.Cancel(ctx, d.ID)
	case store.Pending:
		err = x.store.Delete(ctx, d.ID.Message)
	default:
		_, err = x.store.Claim(ctx, store.ClaimRequest{Destination: "a", Limit: 2, Lease: time.Hour})
	}
	return err
}
