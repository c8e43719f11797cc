// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

func (r *rig) pause(destination string) {
	r.t.Helper()
	if _, err := r.Pause(r.t.Context(), destination, "maintenance"); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) resume(destination string) {
	r.t.Helper()
	if err := r.Resume(r.t.Context(), destination); err != nil {
		r.t.Fatal(err)
	}
}

func TestP3_APausedDestinationIsLeftAloneAndLosesNothing(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.upstream.set(func(ctx context.Context, a Attempt) Result {
			time.Sleep(time.Minute) // virtual: only ever called inside a synctest bubble
			return succeeds(ctx, a)
		})
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, MaxInFlight: 2, Timeout: time.Hour}, Destination{ID: "other", Deliverer: r.upstream}))
		for i := range 10 {
			r.accept(fmt.Sprint("before", i))
		}
		settle(time.Second)
		r.pause("d")
		r.accept("while", "d", "other")
		settle(time.Hour)
		books, _ := r.Books(t.Context())
		if got := books["d"]; got.Delivered != 2 || got.Open != 9 {
			t.Errorf("books are %+v, want the two attempts under way ended and all else held", got)
		}
		if got := books["other"]; got.Delivered != 1 {
			t.Errorf("books of the other destination are %+v", got)
		}
		leased, err := r.store.ListDeliveries(t.Context(), store.DeliveryQuery{Destination: "d", State: store.Leased, Limit: 10})
		if err != nil || len(leased) > 0 {
			t.Errorf("%d deliveries are leased while the destination is paused, error %v", len(leased), err)
		}
		r.resume("d")
		settle(time.Hour)
		if books, _ = r.Books(t.Context()); books["d"].Delivered != 11 {
			t.Errorf("books are %+v after it was resumed", books["d"])
		}
		if n := r.upstream.count(); n != 12 {
			t.Errorf("%d attempts for 12 deliveries", n)
		}
	})
}

func TestP8_APausedDestinationThatIsDownIsNotProbed(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		id := r.accept("a").ID
		settle(time.Hour)
		r.pause("d")
		settle(time.Second)
		began, tries := r.upstream.count(), r.delivery(id).Tries
		settle(24 * time.Hour)
		if n := r.upstream.count() - began; n != 0 {
			t.Errorf("%d probes while paused", n)
		}
		r.upstream.set(nil)
		r.resume("d")
		settle(time.Second)
		if d := r.delivery(id); d.State != store.Delivered || d.Tries > tries+1 {
			t.Errorf("the delivery is %s after %d tries, %d before the pause", d.State, d.Tries, tries)
		}
	})
}

func TestAPauseOutlivesReconfigurationAndRestart(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.pause("d")
		r.pause("d")
		r.accept("a")
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: retry.Default()}))
		settle(time.Minute)
		if n := r.upstream.count(); n != 0 {
			t.Errorf("%d attempts after a reconfiguration", n)
		}
		r.close()

		again := New(Options{Open: func(context.Context) (store.Store, error) { return r.store, nil }})
		again.Attach(r.generation)
		if err := again.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		if n := r.upstream.count(); n != 0 {
			t.Errorf("%d attempts after a restart", n)
		}
		pauses, err := again.Pauses(t.Context())
		if p := pauses["d"]; err != nil || len(pauses) != 1 || p.Reason != "maintenance" || p.CreatedAt.IsZero() {
			t.Errorf("pauses are %+v, error %v", pauses, err)
		}
		for range 2 {
			if err := again.Resume(t.Context(), "d"); err != nil {
				t.Error(err)
			}
		}
		settle(time.Second)
		if n := r.upstream.count(); n != 1 {
			t.Errorf("%d attempts after it was resumed, want 1", n)
		}
		if pauses, _ = again.Pauses(t.Context()); len(pauses) != 0 {
			t.Errorf("pauses are %+v after it was resumed", pauses)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestASecondPauseTakesTheNewReasonAndTellsOfTheFirst(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		began := time.Now()
		for _, c := range []struct{ reason, before, kept string }{
			{"moving", "", "moving"}, {"moved, now testing", "moving", "moved, now testing"}, {"", "moved, now testing", "moved, now testing"},
		} {
			before, err := r.Pause(t.Context(), "d", c.reason)
			if err != nil || (before == nil) != (c.before == "") || before != nil && (before.Reason != c.before || !before.CreatedAt.Equal(began)) {
				t.Errorf("pausing for %q: there was %+v before, error %v", c.reason, before, err)
			}
			pauses, err := r.Pauses(t.Context())
			if p := pauses["d"]; err != nil || p.Reason != c.kept || !p.CreatedAt.Equal(began) {
				t.Errorf("paused for %q since %s, want %q since %s", p.Reason, p.CreatedAt, c.kept, began)
			}
			settle(time.Minute)
		}
		r.expectPaused("d")
	})
}

func TestOnlyADestinationThatExistsIsPaused(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		if _, err := r.Pause(t.Context(), "typo", ""); !errors.Is(err, ErrNoDestination) {
			t.Errorf("pausing an unknown destination: %v", err)
		}
		if err := r.Resume(t.Context(), "typo"); !errors.Is(err, ErrNoDestination) {
			t.Errorf("resuming an unknown destination: %v", err)
		}
		r.accept("a", "gone") // not in force, but it has a delivery
		r.pause("gone")
		r.resume("gone")
	})
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.pause("d")
		r.Attach(r.to()) // it has gone, and never had a delivery
		r.resume("d")
	})
}

// TestAPauseThatWaitsForTheDiskKeepsNoOtherWaiting has the store hang over one.
func TestAPauseThatWaitsForTheDiskKeepsNoOtherWaiting(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.twoDestinations()
		hang, done := make(chan struct{}), make(chan error, 1)
		r.store.put.set(func(e store.Entity) error {
			if e.Key().ID == "d" {
				<-hang
			}
			return nil
		})
		go func() {
			_, err := r.Pause(t.Context(), "d", "hangs")
			done <- err
		}()
		settle(time.Second)
		r.pause("e")
		r.resume("d")
		close(hang)
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.expectPaused("d", "e")
	})
}

// TestAPauseThatIsOvertakenByAResumeDoesNotHold has the destination resumed after
// the pause was committed, before the dispatcher knows of it.
func TestAPauseThatIsOvertakenByAResumeDoesNotHold(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		reads := 0
		r.store.entity.set(func(store.EntityKey) error {
			if reads++; reads == 2 { // the first is before the pause is put
				r.store.entity.set(nil)
				r.resume("d")
			}
			return nil
		})
		r.pause("d")
		r.expectPaused()
		id := r.accept("a").ID
		settle(time.Second)
		r.expect(id, store.Delivered, 1)
	})
}

// expectPaused checks what the store and the dispatcher hold for paused.
func (r *rig) expectPaused(destinations ...string) {
	r.t.Helper()
	stored, err := r.Pauses(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(stored)); !slices.Equal(got, destinations) {
		r.t.Errorf("paused in the store are %v, want %v", got, destinations)
	}
	for _, s := range r.Standings() {
		if s.Paused != slices.Contains(destinations, s.Destination) {
			r.t.Errorf("%s is paused: %t", s.Destination, s.Paused)
		}
	}
}

func TestAPausedDestinationGivesItsLeasesBack(t *testing.T) {
	b := newBench(destination("a", 1))
	b.fill("a", 3)
	if !b.reserve("a") {
		t.Fatal("no place was promised")
	}
	if got := b.do(event{kind: paused, destination: "a"}); len(got) != 2 || got[0][:7] != "release" {
		t.Errorf("got %q, want two releases", got)
	}
	if got := b.do(event{kind: handedOver, destination: "a", leased: numbered(9)}); len(got) != 1 || got[0][:7] != "release" {
		t.Errorf("got %q for what was promised a place before, want its release", got)
	}
	for _, ev := range []event{
		{kind: paused, destination: "a"},
		{kind: attemptEnded, destination: "a"},
		{kind: becameStored, destination: "a"},
		{kind: becameWaiting, destination: "a", at: b.now.Add(time.Second)},
		{kind: timerFired},
	} {
		if got := b.do(ev); len(got) > 0 {
			t.Errorf("event %d: got %q while paused", ev.kind, got)
		}
	}
	if b.reserve("a") {
		t.Error("a place was promised while paused")
	}
	if got := b.do(event{kind: resumed, destination: "a"}); !slices.Equal(got, []string{"claim a 256", "wake in 1s"}) {
		t.Errorf("got %q when it was resumed", got)
	}
	if got := b.do(event{kind: resumed, destination: "a"}); len(got) > 0 {
		t.Errorf("got %q when it was resumed again", got)
	}
}

func TestADestinationThatHadAskedForTimeIsProbedAtOnceWhenItIsResumed(t *testing.T) {
	b := newBench(destination("a", 4))
	for range breakerThreshold {
		b.do(event{kind: attemptEnded, destination: "a", found: down, later: time.Hour})
	}
	b.do(event{kind: becameWaiting, destination: "a", at: b.now.Add(time.Hour)})
	b.do(event{kind: paused, destination: "a"})
	b.do(event{kind: resumed, destination: "a"})
	if got := b.do(event{kind: claimEnded, destination: "a"}); len(got) == 0 || got[0] != "hasten a 1" {
		t.Errorf("got %q when it was resumed, want a delivery to probe with", got)
	}
}
