// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// holder has two messages of one lane accepted, and the first die with Hold. It
// returns them.
func holder(t *testing.T, s *Store) (dead, next store.Delivery) {
	t.Helper()
	var batch []store.Acceptance
	for range 2 {
		batch = append(batch, store.Acceptance{
			Message:    &store.Message{ID: store.MessageID(ulid.Make()), Source: "shop", Request: store.Request{Body: []byte("body")}},
			Deliveries: []store.NewDelivery{{Destination: "d", OrderKey: "k", Lease: time.Minute}},
		})
	}
	accepted, err := s.Accept(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	end := store.Finish{
		Lease: accepted[0].Deliveries[0].Lease(), State: store.Dead, Hold: true,
		Attempt: &store.Attempt{Outcome: store.Refused, Status: 500, Error: "status 500"},
	}
	finished, err := s.Finish(t.Context(), []store.Finish{end})
	if err != nil || !finished[0].Delivery.Holds() {
		t.Fatalf("Finish: %+v, %v", finished, err)
	}
	return finished[0].Delivery, accepted[1].Deliveries[0]
}

// frees are the ways in which an operator ends what a dead delivery holds up.
var frees = map[string]func(t *testing.T, s *Store, dead store.Delivery) error{
	"cancel": func(t *testing.T, s *Store, dead store.Delivery) error {
		d, err := s.Cancel(t.Context(), dead.ID)
		if d.State != store.Canceled || d.Attempts != 1 || d.LastStatus != 500 {
			t.Errorf("canceled as %+v", d)
		}
		return err
	},
	"delete": func(t *testing.T, s *Store, dead store.Delivery) error { return s.Delete(t.Context(), dead.ID.Message) },
	"delete in a batch": func(t *testing.T, s *Store, dead store.Delivery) error {
		answers, err := s.Operate(t.Context(), []store.Operation{{Action: store.ActionDelete, Delivery: dead.ID}})
		if err != nil {
			return err
		}
		return answers[0].Err
	},
	"re-drive": func(t *testing.T, s *Store, dead store.Delivery) error {
		d, err := s.Redrive(t.Context(), dead.ID)
		if d.Generation != 1 || d.Place != dead.Place {
			t.Errorf("re-driven as %+v", d)
		}
		deliverOneByOne(t, s, 1)
		return err
	},
}

func TestP6_ADeadHolderThatCanNotBeReadIsFreedByAnOperator(t *testing.T) {
	for name, harm := range damage {
		for how, free := range frees {
			if name == "no row" && how != "cancel" && how != "re-drive" {
				continue // the message has no deliveries then
			}
			t.Run(name+"/"+how, func(t *testing.T) { checkHolder(t, harm, free) })
		}
	}
}

func checkHolder(t *testing.T, harm func(*Store, []byte) error, free func(*testing.T, *Store, store.Delivery) error) {
	core, logs := observer.New(zap.ErrorLevel)
	s, err := Open("store", Options{FS: vfs.NewMem(), Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	dead, next := holder(t, s)
	if err := harm(s, appendDeliveryKey(nil, dead.ID)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		listed, err := s.ListDeliveries(t.Context(), store.DeliveryQuery{State: store.Dead, Limit: 10})
		if err != nil || len(listed) != 1 || !listed[0].Holds() {
			t.Fatalf("listed %+v, %v", listed, err)
		}
	}
	if n := logs.FilterMessageSnippet("a copy of it is used").Len(); n != 1 {
		t.Errorf("%d alarms, want 1", n)
	}
	if err := free(t, s, dead); err != nil {
		t.Fatalf("freeing the lane: %v", err)
	}
	if got := deliverOneByOne(t, s, 1); len(got) != 1 || got[0] != next.ID {
		t.Errorf("delivered %v after that, want %s", got, next.ID)
	}
	books, err := s.Books(t.Context())
	if b := books["d"]; err != nil || !b.Balanced() || b.Dead != 0 || b.Open != 0 {
		t.Errorf("books are %+v, %v", b, err)
	}
	if n := countKeys(t, s, spaceLane) + countKeys(t, s, spaceBlocked) + countKeys(t, s, spaceDead); n != 0 {
		t.Errorf("%d keys are left of the lane", n)
	}
}

// TestADeliveryThatCanNotBeReadHidesNoOther has one of several be lost, and one dead
// one of a store whose keys had no copy.
func TestADeliveryThatCanNotBeReadHidesNoOther(t *testing.T) {
	s, err := Open("store", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	deletable(t, s, store.Delivered)
	lost := store.DeliveryID{Message: deletable(t, s, store.Delivered), N: 1}
	old := store.DeliveryID{Message: deletable(t, s, store.Dead), N: 1}
	deletable(t, s, store.Dead)
	for _, id := range []store.DeliveryID{lost, old} {
		if err := s.db.Set(appendDeliveryKey(nil, id), []byte{0xff}, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.db.Set(appendDelivery([]byte{spaceDead}, old), nil, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	for state, want := range map[store.State]int{0: 2, store.Dead: 1, store.Delivered: 1} {
		listed, err := s.ListDeliveries(t.Context(), store.DeliveryQuery{State: state, Limit: 10})
		if err != nil || len(listed) != want {
			t.Errorf("state %d: listed %+v, %v, want %d", state, listed, err, want)
		}
	}
	if _, err := s.Cancel(t.Context(), old); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("canceling what can not be read: %v", err)
	}
}
