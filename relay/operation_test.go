// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

// kills answers so that a delivery dies of one attempt.
func kills(context.Context, Attempt) Result { return Result{Outcome: store.Quarantined} }

// dead accepts a message whose delivery dies.
func (r *rig) dead(body string, destinations ...string) Receipt {
	r.t.Helper()
	r.upstream.set(kills)
	receipt := r.accept(body, destinations...)
	settle(time.Second)
	r.expect(receipt.ID, store.Dead, 1)
	r.upstream.set(nil)
	return receipt
}

// first is the id of the first delivery of a message.
func first(id store.MessageID) store.DeliveryID { return store.DeliveryID{Message: id, N: 1} }

func TestP3_ARedrivenDeliveryIsTriedAtOnceAndAnew(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		id := r.dead("a").ID
		settle(time.Hour / 2)
		d, err := r.Redrive(t.Context(), first(id))
		if err != nil || d.State != store.Pending || d.Generation != 1 || d.Tries != 0 {
			t.Fatalf("re-driven as %+v, error %v", d, err)
		}
		settle(time.Second)
		r.expect(id, store.Delivered, 2)
		if _, err := r.Redrive(t.Context(), first(id)); !errors.Is(err, store.ErrState) {
			t.Errorf("re-driving a delivered one: %v", err)
		}
		if _, err := r.Redrive(t.Context(), store.DeliveryID{Message: id, N: 9}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("re-driving an unknown one: %v", err)
		}
	})
}

func TestP3_AReplayIsDeliveredOnceMore(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		other := &upstream{}
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream}, Destination{ID: "e", Deliverer: other}))
		id := r.accept("a").ID
		settle(time.Second)
		d, err := r.Replay(t.Context(), id, "d")
		if err != nil || d.ReplayOf != 1 || d.Generation != 1 {
			t.Fatalf("replayed as %+v, error %v", d, err)
		}
		if d, err = r.Replay(t.Context(), id, "e"); err != nil || d.ReplayOf != 0 || d.Generation != 0 {
			t.Fatalf("replayed to another destination as %+v, error %v", d, err)
		}
		settle(time.Second)
		if r.upstream.count() != 2 || other.count() != 1 {
			t.Errorf("%d attempts, and %d at the other destination", r.upstream.count(), other.count())
		}
		made, err := r.ReplayAll(t.Context(), id)
		if err != nil || len(made) != 2 || made[0].Destination != "d" || made[1].Destination != "e" {
			t.Fatalf("replayed to all as %+v, error %v", made, err)
		}
		settle(time.Second)
		if r.upstream.count() != 3 || other.count() != 2 {
			t.Errorf("%d attempts, and %d at the other destination", r.upstream.count(), other.count())
		}
		if _, err := r.Replay(t.Context(), id, "typo"); !errors.Is(err, ErrNoDestination) {
			t.Errorf("replaying to nowhere: %v", err)
		}
		if _, err := r.ReplayAll(t.Context(), store.MessageID{1}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("replaying an unknown message: %v", err)
		}
	})
}

func TestACanceledDeliveryIsNotTriedThoughItWaitedForASlot(t *testing.T) {
	bubble(t, hangs, func(t *testing.T, r *rig) {
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, MaxInFlight: 1, Timeout: time.Minute, Retry: retry.Rule{Policy: retry.Off()}}))
		r.accept("under way")
		id := r.accept("waits").ID
		settle(time.Second)
		if d := r.delivery(id); d.State != store.Leased {
			t.Fatalf("the delivery is %s, want it in the window", d.State)
		}
		if d, err := r.Cancel(t.Context(), first(id)); err != nil || d.State != store.Canceled {
			t.Fatalf("canceled as %+v, error %v", d, err)
		}
		settle(time.Hour)
		r.expect(id, store.Canceled, 0)
		if r.upstream.count() != 1 {
			t.Errorf("%d attempts, want that of the other message alone", r.upstream.count())
		}
		if _, err := r.Cancel(t.Context(), first(id)); !errors.Is(err, store.ErrState) {
			t.Errorf("canceling again: %v", err)
		}
	})
}

func TestADeletedMessageIsNotTriedThoughItWaitedForASlot(t *testing.T) {
	bubble(t, hangs, func(t *testing.T, r *rig) {
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, MaxInFlight: 1, Timeout: time.Minute, Retry: retry.Rule{Policy: retry.Off()}}))
		under := r.accept("under way").ID
		waits := r.accept("waits").ID
		settle(time.Second)
		for _, id := range []store.MessageID{under, waits} {
			if err := r.Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if err := r.Delete(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("deleting again: %v", err)
			}
		}
		settle(time.Hour)
		if r.upstream.count() != 1 {
			t.Errorf("%d attempts, want that of the other message alone", r.upstream.count())
		}
		if got := r.accept("waits"); got.ID != waits || got.Verdict != store.DuplicatePurged {
			t.Errorf("a duplicate of what was deleted is %s", got.Verdict)
		}
		books, _ := r.Books(t.Context())
		if b := books["d"]; b.Deleted != 2 || b.Made != 2 {
			t.Errorf("books are %+v", b)
		}
	})
}

func TestALaneGoesOnBehindWhatWasCanceled(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		var ids []store.MessageID
		for _, body := range []string{"a", "b", "c"} {
			in := r.inbound(body)
			in.Targets[0].OrderKey = "k"
			receipt, err := r.Accept(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, receipt.ID)
		}
		settle(time.Second / 2)
		r.upstream.set(nil)
		if _, err := r.Cancel(t.Context(), first(ids[0])); err != nil {
			t.Fatal(err)
		}
		settle(time.Second / 5) // before the canceled one would have been tried again
		r.expect(ids[1], store.Delivered, 1)
		r.expect(ids[2], store.Delivered, 1)
	})
}

func TestOperationsReturnErrNotReadyWithoutAStore(t *testing.T) {
	e := New(Options{})
	defer e.Close()
	ctx := expired()
	_, redrive := e.Redrive(ctx, store.DeliveryID{})
	_, replay := e.Replay(ctx, store.MessageID{}, "d")
	_, all := e.ReplayAll(ctx, store.MessageID{})
	_, start := e.StartJob(ctx, JobRequest{})
	_, jobs := e.Jobs(ctx)
	_, count := e.CountJob(ctx, JobRequest{}, 1)
	for i, err := range []error{redrive, replay, all, start, jobs, count, e.Delete(ctx, store.MessageID{})} {
		if !errors.Is(err, ErrNotReady) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
}

// inLane accepts a message for "d" in the lane of a key.
func (r *rig) inLane(key, body string) Receipt {
	r.t.Helper()
	in := r.inbound(body)
	in.Targets[0].OrderKey = key
	receipt, err := r.Accept(r.t.Context(), in)
	if err != nil {
		r.t.Fatal(err)
	}
	return receipt
}

func TestP6_ALaneGoesOnBehindADeadDeliveryThatHeldItAndWasDeleted(t *testing.T) {
	bubble(t, kills, func(t *testing.T, r *rig) {
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Hold: true}))
		dead, next := r.inLane("k", "a").ID, r.inLane("k", "b").ID
		settle(time.Minute)
		r.expect(dead, store.Dead, 1)
		r.expect(next, store.Pending, 0)
		r.upstream.set(nil)
		if err := r.Delete(t.Context(), dead); err != nil {
			t.Fatal(err)
		}
		settle(time.Second)
		r.expect(next, store.Delivered, 1)
	})
}

// rotten is a store that knows of one more delivery of each message, which it can
// not read.
type rotten struct{ store.Store }

func (s rotten) Deliveries(ctx context.Context, id store.MessageID) ([]store.Delivery, error) {
	all, err := s.Store.Deliveries(ctx, id)
	return append(all, store.Delivery{ID: store.DeliveryID{Message: id, N: uint32(len(all) + 1)}, State: store.Pending}), err
}

func TestAReplayLeavesOutADeliveryThatCanNotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, &intercepted{Store: rotten{kept{memory.New(memory.Options{})}}}, nil)
		id := r.accept("a").ID
		settle(time.Second)
		made, err := r.ReplayAll(t.Context(), id)
		if err != nil || len(made) != 1 || made[0].Destination != "d" {
			t.Errorf("made %+v, error %v", made, err)
		}
		settle(time.Second)
		r.close()
	})
}
