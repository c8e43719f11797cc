// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// slow answers well after a while, even when it is cut off before.
func slow(d time.Duration) func(context.Context, Attempt) Result {
	return func(ctx context.Context, a Attempt) Result {
		time.Sleep(d)
		return succeeds(ctx, a)
	}
}

func TestP12_DrainLetsAttemptsEnd(t *testing.T) {
	bubble(t, slow(3*time.Second), func(t *testing.T, r *rig) {
		var ids []store.MessageID
		for i := range DefaultMaxInFlight + 10 {
			ids = append(ids, r.accept(fmt.Sprint(i)).ID)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		r.Drain(ctx)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("drained in %v, want the 3 s that the attempts took", took)
		}
		late := r.accept("late")
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		for i, id := range ids {
			if i < DefaultMaxInFlight {
				r.expect(id, store.Delivered, 1)
			} else {
				r.expect(id, store.Pending, 0)
			}
		}
		if late.Verdict != store.Fresh {
			t.Errorf("a message after the drain is %s", late.Verdict)
		}
		r.expect(late.ID, store.Pending, 0)
	})
}

func TestP12_DrainCutsOffWhatDoesNotEnd(t *testing.T) {
	bubble(t, hangs, func(t *testing.T, r *rig) {
		id := r.accept("a").ID
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		began := time.Now()
		r.Drain(ctx)
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("drained in %v, want the grace of 4 s", took)
		}
		settle(time.Second)
		r.expect(id, store.Pending, 1)
		if got := r.outcomes(id); !slices.Equal(got, []store.Outcome{store.Aborted}) {
			t.Errorf("outcomes are %v", got)
		}
		if d := r.delivery(id); d.Tries != 0 {
			t.Error("the attempt that was cut off is counted")
		}
	})
}

func TestAnAttemptThatIsCutOffWithoutAnAnswerIsNotCounted(t *testing.T) {
	naive := func(ctx context.Context, _ Attempt) Result {
		<-ctx.Done()
		return Result{Outcome: store.Unreachable, Err: ctx.Err()}
	}
	bubble(t, naive, func(t *testing.T, r *rig) {
		id := r.accept("a").ID
		synctest.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if got := r.outcomes(id); !slices.Equal(got, []store.Outcome{store.Aborted}) {
			t.Errorf("outcomes are %v", got)
		}
	})
}

func TestAcceptGoesOnDuringAndAfterTheDrain(t *testing.T) {
	bubble(t, slow(time.Second), func(t *testing.T, r *rig) {
		r.accept("before")
		synctest.Wait()
		drained := make(chan struct{})
		go func() {
			r.Drain(context.Background())
			close(drained)
		}()
		synctest.Wait()
		during := r.accept("during")
		<-drained
		if v := r.accept("during").Verdict; v != store.DuplicateOpen {
			t.Errorf("a duplicate after the drain is %s", v)
		}
		r.accept("after")
		settle(time.Hour)
		if n := r.upstream.count(); n != 1 {
			t.Errorf("%d attempts, want the one before the drain", n)
		}
		r.expect(during.ID, store.Pending, 0)
	})
}

func TestAnAttemptThatIgnoresItsContextDoesNotHoldUpTheClose(t *testing.T) {
	bubble(t, slow(time.Hour), func(t *testing.T, r *rig) {
		r.accept("a")
		synctest.Wait()
		began := time.Now()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > abortGrace {
			t.Errorf("closed in %v", took)
		}
		settle(time.Hour)
	})
}

func TestCloseCommitsTheOutcomesThatAreKnown(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		var ids []store.MessageID
		for i := range 50 {
			ids = append(ids, r.accept(fmt.Sprint(i)).ID)
		}
		synctest.Wait() // attempts have ended, and no time has passed
		r.expect(ids[0], store.Leased, 0)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		for _, id := range ids {
			r.expect(id, store.Delivered, 1)
		}
	})
}

func TestAClosedEngineRefuses(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		for range 2 {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		for range 20 { // a choice among ready channels would show
			if _, err := r.Accept(t.Context(), r.inbound("a")); !errors.Is(err, ErrClosed) {
				t.Fatalf("Accept: %v", err)
			}
			if _, err := r.Store(); !errors.Is(err, ErrClosed) {
				t.Fatalf("Store: %v", err)
			}
			if err := r.Health().Err; !errors.Is(err, ErrClosed) {
				t.Fatalf("Health: %v", err)
			}
		}
		if err := r.Start(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Start: %v", err)
		}
		r.Drain(t.Context())
	})
}

func TestAcceptWaitsForTheFirstOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		late := New(Options{Open: func(context.Context) (store.Store, error) { return r.store, nil }})
		if err := late.Health().Err; !errors.Is(err, ErrNotReady) {
			t.Errorf("Health: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := late.Accept(ctx, r.inbound("a")); !errors.Is(err, ErrNotReady) {
			t.Errorf("Accept without a store: %v", err)
		}
		done := make(chan error)
		go func() {
			_, err := late.Accept(context.Background(), r.inbound("b"))
			done <- err
		}()
		synctest.Wait()
		if err := late.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("Accept when the store is open: %v", err)
		}
		if err := late.Close(); err != nil {
			t.Error(err)
		}
		r.close()
	})
}

func TestP12_AGenerationComesAndGoesAsAWhole(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		newer := &upstream{}
		second := r.to(Destination{ID: "d", Deliverer: newer})
		second.MaxBuffer = 1 << 20
		r.Attach(second)
		r.accept("to the second")
		settle(time.Second)
		r.Detach(r.generation) // the old one leaves, the new one stays
		r.accept("to the second again")
		settle(time.Second)
		if r.upstream.count() != 0 || newer.count() != 2 {
			t.Errorf("%d attempts by the old generation, %d by the new one", r.upstream.count(), newer.count())
		}
		r.Attach(r.generation)
		r.Detach(r.generation) // as a reload that fails
		r.accept("to the second once more")
		settle(time.Second)
		if newer.count() != 3 || r.Budget().limit != 1<<20 {
			t.Errorf("%d attempts, budget %d", newer.count(), r.Budget().limit)
		}
		r.Detach(second)
		id := r.accept("to nobody").ID
		settle(time.Hour)
		r.expect(id, store.Pending, 0)
		if r.Budget().limit != DefaultMaxBuffer {
			t.Errorf("budget is %d with no generation", r.Budget().limit)
		}
	})
}

func TestP12_ADestinationThatGoesKeepsItsDeliveries(t *testing.T) {
	bubble(t, hangs, func(t *testing.T, r *rig) {
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, MaxInFlight: 1, Timeout: time.Minute}))
		running, waiting := r.accept("running").ID, r.accept("waiting").ID
		synctest.Wait()
		empty := r.to()
		r.Attach(empty)
		stored := r.accept("stored").ID
		settle(10 * time.Second)
		r.expect(running, store.Leased, 0)
		r.expect(waiting, store.Pending, 0)
		r.expect(stored, store.Pending, 0)
		r.upstream.set(nil)
		settle(time.Hour) // the running one fails by its timeout and waits
		r.expect(running, store.Waiting, 1)
		r.Detach(empty)
		settle(time.Minute)
		for _, id := range []store.MessageID{running, waiting, stored} {
			if d := r.delivery(id); d.State != store.Delivered {
				t.Errorf("%s is %s when its destination is back", id, d.State)
			}
		}
		if n := r.upstream.count(); n != 4 {
			t.Errorf("%d attempts, want 4", n)
		}
	})
}

func TestP12_ADestinationThatReturnsBeforeItsLeasesAreGivenBackIsServed(t *testing.T) {
	bubble(t, slow(time.Second), func(t *testing.T, r *rig) {
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, MaxInFlight: 1}))
		for i := range 10 {
			r.accept(fmt.Sprint(i))
		}
		empty := r.to()
		r.Attach(empty)
		r.Detach(empty) // and no time has passed
		settle(time.Minute)
		if n := r.upstream.count(); n != 10 {
			t.Errorf("%d of 10 were delivered", n)
		}
	})
}

func TestP12_AReloadUnderLoadLosesAndDoublesNothing(t *testing.T) {
	bubble(t, slow(20*time.Millisecond), func(t *testing.T, r *rig) {
		go func() {
			for i := range 500 {
				r.accept(fmt.Sprint(i))
				time.Sleep(time.Millisecond)
			}
		}()
		last := r.generation
		for range 40 {
			settle(10 * time.Millisecond)
			next := r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: retry.Default(), MaxInFlight: 3})
			r.Attach(next)
			r.Detach(last)
			last = next
		}
		settle(time.Minute)
		bodies := r.upstream.bodies()
		slices.Sort(bodies)
		if n := len(slices.Compact(bodies)); n != 500 || r.upstream.count() != 500 {
			t.Errorf("%d attempts of %d messages, want 500", r.upstream.count(), n)
		}
	})
}
