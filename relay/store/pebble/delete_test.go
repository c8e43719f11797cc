// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// deletable has a message accepted with deliveries that end in the states, in a
// lane, after an attempt each.
func deletable(t *testing.T, s *Store, states ...store.State) store.MessageID {
	t.Helper()
	m := &store.Message{
		ID: store.MessageID(ulid.Make()), Source: "shop", Type: "order.paid", EventID: "evt_1",
		Request: store.Request{Body: bytes.Repeat([]byte("x"), 100)},
	}
	a := store.Acceptance{Message: m}
	for range states {
		a.Deliveries = append(a.Deliveries, store.NewDelivery{Destination: "d", OrderKey: "k"})
	}
	if _, err := s.Accept(t.Context(), []store.Acceptance{a}); err != nil {
		t.Fatal(err)
	}
	for _, state := range states {
		c, err := s.Claim(t.Context(), store.ClaimRequest{Destination: "d", Limit: 1, Lease: time.Minute})
		if err != nil || len(c.Deliveries) != 1 {
			t.Fatalf("Claim: %+v, %v", c, err)
		}
		end := store.Finish{Lease: c.Deliveries[0].Lease(), State: state, Attempt: &store.Attempt{Outcome: store.Refused, Status: 500}}
		if _, err := s.Finish(t.Context(), []store.Finish{end}); err != nil {
			t.Fatal(err)
		}
	}
	return m.ID
}

// keysOf counts the keys of a store that speak of a message.
func keysOf(t *testing.T, s *Store, id store.MessageID) (n int) {
	t.Helper()
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = it.Close() }()
	for valid := it.First(); valid; valid = it.Next() {
		if bytes.Contains(it.Key(), id[:]) {
			n++
		}
	}
	return n
}

// TestDeleteLeavesNothingBehind deletes messages of all kinds, those between them
// excepted.
func TestDeleteLeavesNothingBehind(t *testing.T) {
	s, err := Open("store", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var gone, stays []store.MessageID
	for _, states := range [][]store.State{
		nil, {store.Delivered}, {store.Dead}, {store.Dead, store.Delivered, store.Canceled}, {store.Dead, store.Dead},
	} {
		gone = append(gone, deletable(t, s, states...))
		stays = append(stays, deletable(t, s, states...))
	}
	before := make([]int, len(stays))
	for i := range stays {
		before[i] = keysOf(t, s, stays[i])
	}
	batch := make([]store.Operation, len(gone))
	for i := range gone {
		batch[i] = store.Operation{Action: store.ActionDelete, Delivery: store.DeliveryID{Message: gone[i]}}
	}
	answers, err := s.Operate(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i := range gone {
		if n := keysOf(t, s, gone[i]); answers[i].Err != nil || n != 0 {
			t.Errorf("%d keys are left of message %d, answer %v", n, i, answers[i].Err)
		}
		if n := keysOf(t, s, stays[i]); n != before[i] {
			t.Errorf("message %d has %d keys, had %d", i, n, before[i])
		}
	}
}

// An attempt that leaves the record of its delivery in a batch is deleted with it in
// the same batch.
func TestDeleteLeavesNoAttemptThatItsBatchHasMoved(t *testing.T) {
	s, err := Open("store", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	id := deletable(t, s, store.Dead)
	d := store.DeliveryID{Message: id, N: 1}
	answers, err := s.Operate(t.Context(), []store.Operation{
		{Action: store.ActionRedrive, Delivery: d}, {Action: store.ActionCancel, Delivery: d}, {Action: store.ActionDelete, Delivery: d},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		if a.Err != nil {
			t.Errorf("operation %d: %v", i, a.Err)
		}
	}
	if n := keysOf(t, s, id); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}
