// SPDX-License-Identifier: Apache-2.0

package pebble_test

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// TestTransactionLeavesNothingToTheNext fails a transaction after it has begun, and
// looks for what it has made in those that come after it.
func TestTransactionLeavesNothingToTheNext(t *testing.T) {
	s := open(t, "store", pebble.Options{FS: vfs.NewMem()})
	defer s.Close()
	for range 3 {
		if _, err := accept(s, message(1), store.Acceptance{Message: new(store.Message)}); !errors.Is(err, store.ErrInvalid) {
			t.Fatalf("Accept: %v", err)
		}
	}
	other := message(2)
	other.Deliveries[0].Destination = "e"
	if _, err := accept(s, other); err != nil {
		t.Fatal(err)
	}
	books, err := s.Books(t.Context())
	if err != nil || len(books) != 1 || books["e"].Made != 1 {
		t.Errorf("books %v, %v", books, err)
	}
	all, err := s.ListDeliveries(t.Context(), store.DeliveryQuery{Limit: 10})
	if err != nil || len(all) != 1 || all[0].Destination != "e" {
		t.Errorf("deliveries %+v, %v", all, err)
	}
	answers, err := accept(s, message(1), message(3))
	if err != nil || answers[0].Verdict != store.Fresh {
		t.Fatalf("the message that was given up: %+v, %v", answers, err)
	}
	_ = append(answers[0].Deliveries, store.Delivery{})
	if len(answers[1].Deliveries) != 1 || answers[1].Deliveries[0].ID.Message != answers[1].Message {
		t.Errorf("the second answer has changed with the first: %+v", answers[1])
	}
}
