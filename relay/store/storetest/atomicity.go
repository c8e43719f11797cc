// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var atomicityChecks = []check{
	{"A1_a_message_is_seen_with_its_deliveries", checkAtomicAccept},
	{"A3_a_delivery_is_seen_finished_with_its_callbacks", checkAtomicFinish},
	{"P4_one_key_is_accepted_once_by_callbacks_too", checkAtomicCallbackKeys},
	{"A5_purge_takes_no_message_that_is_replayed", checkAtomicPurge},
	{"P14_an_end_is_counted_once", checkAtomicEnd},
}

func checkAtomicAccept(x *fixture) {
	x.together(func(worker int) {
		for range rounds {
			a := x.acceptance("a", "b", "c")
			var group sync.WaitGroup
			if worker%2 == 0 {
				group.Go(func() { x.watchAccept(a.Message.ID) })
			}
			if _, err := x.store.Accept(x.Context(), []store.Acceptance{a, x.acceptance("a")}); err != nil {
				x.Errorf("Accept: %v", err)
			}
			group.Wait()
		}
	})
}

// watchAccept reads a message until it is there, and checks that its deliveries
// then are too.
func (x *fixture) watchAccept(id store.MessageID) {
	for !x.Failed() {
		_, err := x.store.Message(x.Context(), id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			x.Errorf("Message: %v", err)
			return
		}
		deliveries, err := x.store.Deliveries(x.Context(), id)
		if err != nil || len(deliveries) != 3 {
			x.Errorf("a message that is there has %d deliveries, want 3; error %v", len(deliveries), err)
		}
		return
	}
}

func checkAtomicFinish(x *fixture) {
	leased := make([][]store.Delivery, workers)
	for worker := range leased {
		for range rounds {
			leased[worker] = append(leased[worker], x.leased("a"))
		}
	}
	x.together(func(worker int) {
		for _, d := range leased[worker] {
			callback := x.acceptance("endpoint")
			var group sync.WaitGroup
			group.Go(func() { x.watchFinish(d.ID, callback.Message.ID) })
			f := store.Finish{Lease: d.Lease(), State: store.Delivered, Callbacks: []store.Acceptance{callback}}
			if _, err := x.store.Finish(x.Context(), []store.Finish{f}); err != nil {
				x.Errorf("Finish: %v", err)
			}
			group.Wait()
		}
	})
}

// watchFinish reads a delivery until it is delivered, and checks that the
// callback of its end then is there.
func (x *fixture) watchFinish(id store.DeliveryID, callback store.MessageID) {
	for !x.Failed() {
		all, err := x.store.Deliveries(x.Context(), id.Message)
		if err != nil || len(all) != 1 {
			x.Errorf("Deliveries: %d, error %v", len(all), err)
			return
		}
		if all[0].State != store.Delivered {
			continue
		}
		if _, err := x.store.Message(x.Context(), callback); err != nil {
			x.Errorf("callback of a delivery that is finished: %v", err)
		}
		return
	}
}

func checkAtomicCallbackKeys(x *fixture) {
	leased := make([]store.Delivery, workers)
	for worker := range leased {
		leased[worker] = x.leased("a")
	}
	var mu sync.Mutex
	verdicts := make(map[store.Verdict]int)
	x.together(func(worker int) {
		keyed := x.keyed("k", "endpoint")
		var answers []store.Accepted
		var err error
		if worker%2 == 0 {
			answers, err = x.store.Accept(x.Context(), []store.Acceptance{keyed})
		} else {
			d := leased[worker]
			var finished []store.Finished
			finished, err = x.store.Finish(x.Context(), []store.Finish{
				{Lease: d.Lease(), State: store.Delivered, Callbacks: []store.Acceptance{keyed}},
			})
			if err == nil {
				answers = finished[0].Callbacks
			}
		}
		if err != nil || len(answers) != 1 {
			x.Errorf("accepting a key: %d answers, error %v", len(answers), err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		verdicts[answers[0].Verdict]++
	})
	same(x, "verdicts", verdicts, map[store.Verdict]int{store.Fresh: 1, store.DuplicateOpen: workers - 1})
	same(x, "books", x.books("endpoint"), store.Books{Made: 1, Open: 1})
}

func checkAtomicPurge(x *fixture) {
	const messages = 120
	ids := make([]store.MessageID, messages)
	for i := range ids {
		ids[i] = x.ended("a", store.Delivered).ID.Message
	}
	x.clock.advance(2 * time.Hour)
	var mu sync.Mutex
	replayed := make(map[store.DeliveryID]bool)
	x.together(func(worker int) {
		if worker%2 == 0 {
			for more := true; more; {
				p, err := x.store.Purge(x.Context(), store.PurgeRequest{Finished: time.Hour, Limit: 5})
				if err != nil {
					x.Errorf("Purge: %v", err)
				}
				more = p.More
			}
			return
		}
		for i := worker; i < messages; i += workers {
			d, err := x.store.Replay(x.Context(), ids[messages-1-i], "b")
			if err == nil {
				mu.Lock()
				replayed[d.ID] = true
				mu.Unlock()
			} else if !errors.Is(err, store.ErrNotFound) {
				x.Errorf("Replay: %v", err)
			}
		}
	})
	for id := range replayed {
		same(x, "state of what was replayed", x.delivery(id).State, store.Pending)
		x.read(id.Message)
	}
	open := uint64(len(replayed))
	same(x, "books of b", x.books("b"), store.Books{Made: open, Open: open})
	same(x, "books of a", x.books("a"), store.Books{Made: messages, Delivered: messages})
	same(x, "number of messages left", len(x.messageIDs(store.MessageQuery{})), len(replayed))
	same(x, "number of claimed", len(x.claim("b", 1000).Deliveries), len(replayed))
}

// checkAtomicEnd lets a finish, a cancel and a delete run for the same delivery
// at once: one of them counts it.
func checkAtomicEnd(x *fixture) {
	for round := range rounds {
		destination := fmt.Sprint("d", round)
		d := x.leased(destination)
		x.together(func(worker int) {
			var err error
			switch worker % 4 {
			case 0:
				_, err = x.store.Finish(x.Context(), []store.Finish{{Lease: d.Lease(), State: store.Dead}})
			case 1:
				_, err = x.store.Cancel(x.Context(), d.ID)
			case 2:
				_, err = x.store.Redrive(x.Context(), d.ID)
			case 3:
				if worker > workers/2 {
					err = x.store.Delete(x.Context(), d.ID.Message)
				}
			}
			if err != nil && !errors.Is(err, store.ErrState) && !errors.Is(err, store.ErrNotFound) {
				x.Errorf("ending a delivery: %v", err)
			}
		})
		same(x, "books", x.books(destination), store.Books{Made: 1, Deleted: 1})
		x.clock.advance(time.Hour)
		same(x, "claimed", len(x.claim(destination, 10).Deliveries), 0)
	}
}
