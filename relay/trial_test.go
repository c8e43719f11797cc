// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

// lives runs engines on one store, one after the other, of which each dies.
type lives struct {
	t     *testing.T
	store store.Store
	path  string
}

// newLives returns lives of which none has begun.
func newLives(t *testing.T) *lives {
	return &lives{t: t, store: kept{memory.New(memory.Options{})}, path: filepath.Join(t.TempDir(), "journal")}
}

// begin begins the next life.
func (l *lives) begin(answer func(ctx context.Context, a Attempt) Result) *rig {
	return newRigOn(l.t, &intercepted{Store: l.store, journal: l.path}, answer)
}

// die ends a life and leaves the journal as it was, as a kill does.
func (l *lives) die(r *rig) {
	l.t.Helper()
	left, err := os.ReadFile(l.path)
	if err != nil {
		l.t.Fatal(err)
	}
	r.close()
	if err := os.WriteFile(l.path, left, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func TestC20_WhatWasUnderWayIsTriedFirstAndAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		r := l.begin(hangs)
		for i := range 3 {
			r.accept(fmt.Sprint("suspect", i))
		}
		settle(time.Second)
		r.Attach(&Generation{}) // the rest stays in the store
		for i := range 10 {
			r.accept(fmt.Sprint("other", i))
		}
		l.die(r)

		// Attempts begin with the engine, so that it is given this with it.
		var running atomic.Int32
		var together atomic.Bool
		r = l.begin(func(_ context.Context, a Attempt) Result {
			defer running.Add(-1)
			if running.Add(1) > 1 && strings.HasPrefix(string(a.Message.Request.Body), "suspect") {
				together.Store(true)
			}
			time.Sleep(100 * time.Millisecond)
			return Result{Outcome: store.Succeeded, Status: 200}
		})
		synctest.Wait()
		if n := r.upstream.count(); n != 1 {
			t.Errorf("%d attempts at once", n)
		}
		r.accept("fresh")
		synctest.Wait()
		if n := r.upstream.count(); n != 1 {
			t.Errorf("%d attempts at once when another message has come", n)
		}
		settle(time.Minute)
		first := r.upstream.bodies()[:3]
		slices.Sort(first)
		if together.Load() || !slices.Equal(first, []string{"suspect0", "suspect1", "suspect2"}) || r.upstream.count() != 14 {
			t.Errorf("first were %v, together with others %v, %d in all", first, together.Load(), r.upstream.count())
		}
		r.close()
		r = l.begin(nil)
		if len(r.current.Load().trial.suspects) > 0 {
			t.Error("what was delivered is still suspect")
		}
		r.close()
	})
}

func TestC20_ThreeStrikesMakeADeliveryDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		poison := func(ctx context.Context, a Attempt) Result {
			if string(a.Message.Request.Body) == "poison" {
				return hangs(ctx, a)
			}
			return succeeds(ctx, a)
		}
		r := l.begin(poison)
		id := r.accept("poison").ID
		for i := range poisonStrikes {
			other := r.accept(fmt.Sprint("other", i)).ID
			settle(time.Millisecond)
			if n := r.upstream.running; n != 1 {
				t.Fatalf("in life %d %d attempts run", i, n)
			}
			l.die(r)
			r = l.begin(poison)
			defer func() { r.expect(other, store.Delivered, 1) }()
		}
		settle(time.Second)
		d := r.delivery(id)
		if d.State != store.Dead || !strings.Contains(d.LastError, "poison: the process died 3 times") {
			t.Errorf("the delivery is %s: %q", d.State, d.LastError)
		}
		if outcomes := r.outcomes(id); outcomes[len(outcomes)-1] != store.Poisoned {
			t.Errorf("outcomes are %v", outcomes)
		}
		if r.said.FilterMessage("delivery is dead").Len() != 1 {
			t.Error("the operator is not told")
		}
		if r.upstream.running > 0 {
			t.Error("it was tried once more")
		}
		l.die(r)
		r = l.begin(poison)
		if len(r.current.Load().trial.suspects) > 0 {
			t.Error("a dead delivery is still suspect")
		}
		settle(time.Second)
		r.close()
	})
}

func TestC20_AnEndWithoutADeathTakesTheStrikesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		for range poisonStrikes + 1 {
			r := l.begin(hangs)
			r.accept("slow")
			settle(time.Millisecond)
			l.die(r)
			r = l.begin(refuses)
			settle(time.Second) // one attempt ends
			r.close()
		}
		r := l.begin(nil)
		id := r.accept("slow").ID
		settle(time.Hour)
		if d := r.delivery(id); d.State != store.Delivered {
			t.Errorf("the delivery is %s: %s", d.State, d.LastError)
		}
		r.close()
	})
}

func TestC20_SuspectsThatHangHoldUpNobodyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		r := l.begin(hangs)
		const suspects = 30
		for i := range suspects {
			r.accept(fmt.Sprint("suspect", i))
		}
		settle(time.Millisecond)
		l.die(r)
		r = l.begin(func(ctx context.Context, a Attempt) Result {
			if string(a.Message.Request.Body) == "other" {
				return succeeds(ctx, a)
			}
			return hangs(ctx, a)
		})
		other := r.accept("other").ID
		settle(trialPatience + time.Millisecond)
		if n := r.upstream.count(); n != 2 {
			t.Errorf("%d were tried when the first had its time, want 2", n)
		}
		settle(trialShare*trialPatience - trialPatience + 2*finishDelay)
		r.expect(other, store.Delivered, 1)
		if n := r.upstream.count(); n != suspects+1 {
			t.Errorf("%d attempts, want %d", n, suspects+1)
		}
		r.close()
	})
}

func TestC20_WhatIsNotThereAnyMoreHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		r := l.begin(hangs)
		gone := r.to(Destination{ID: "gone", Deliverer: r.upstream}, Destination{ID: "d", Deliverer: r.upstream})
		r.Attach(gone)
		r.accept("no destination", "gone")
		deleted, canceled := r.accept("deleted").ID, r.accept("canceled").ID
		settle(time.Millisecond)
		l.die(r)
		if err := l.store.Delete(t.Context(), deleted); err != nil {
			t.Fatal(err)
		}
		if _, err := l.store.Cancel(t.Context(), store.DeliveryID{Message: canceled, N: 1}); err != nil {
			t.Fatal(err)
		}
		r = l.begin(nil)
		other := r.accept("other").ID
		settle(2 * finishDelay)
		r.expect(other, store.Delivered, 1)
		if n := r.upstream.count(); n != 1 {
			t.Errorf("%d attempts", n)
		}
		r.close()
	})
}

func TestC20_AJournalThatCanNotBeMadeIsToldAndStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		l.path = filepath.Join(l.path, "below", "nothing")
		r := l.begin(nil)
		id := r.accept("a").ID
		settle(time.Second)
		r.expect(id, store.Delivered, 1)
		if r.said.FilterMessageSnippet("there is no journal").Len() != 1 {
			t.Error("the operator is not told")
		}
		r.close()
	})
}

func TestC20_AShutdownDuringTheTrialIsNoDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		r := l.begin(hangs)
		r.accept("a")
		r.accept("b")
		settle(time.Millisecond)
		l.die(r)
		r = l.begin(hangs)
		settle(time.Millisecond)
		r.close()
		r = l.begin(nil)
		for _, s := range r.current.Load().trial.suspects {
			if s.Strikes > 0 {
				t.Errorf("%v has %d strikes", s.ID, s.Strikes)
			}
		}
		settle(time.Second)
		if n := r.upstream.count(); n != 2 {
			t.Errorf("%d attempts", n)
		}
		r.close()
	})
}

func TestC20_AKillDuringAShutdownIsNoDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		r := l.begin(hangs)
		r.accept("a")
		settle(time.Millisecond)
		drained := make(chan struct{})
		go func() {
			r.Drain(t.Context())
			close(drained)
		}()
		synctest.Wait()
		if r.upstream.running != 1 {
			t.Fatalf("%d attempts run", r.upstream.running)
		}
		l.die(r)
		<-drained
		r = l.begin(nil)
		if s := r.current.Load().trial.suspects; len(s) > 0 {
			t.Errorf("suspect: %v", s)
		}
		r.close()
	})
}

// TestC20_PoisonStaysKnownUntilItIsGivenUpDurably has the process die of another
// delivery before the one that was given up is dead on disk.
func TestC20_PoisonStaysKnownUntilItIsGivenUpDurably(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		r := l.begin(hangs)
		poison := r.accept("poison").ID
		for range poisonStrikes {
			settle(time.Millisecond)
			l.die(r)
			st := &intercepted{Store: l.store, journal: l.path}
			st.finish.set(func(batch []store.Finish) error {
				if batch[0].State == store.Dead {
					return errors.New("not yet")
				}
				return nil
			})
			r = newRigOn(t, st, hangs)
		}
		settle(time.Millisecond)
		if n := r.upstream.count(); n != 0 {
			t.Fatalf("%d attempts in the life that gives it up", n)
		}
		left, err := os.ReadFile(l.path)
		if err != nil {
			t.Fatal(err)
		}
		r.store.finish.set(func([]store.Finish) error { return store.ErrFailed }) // it dies before that
		r.beforeOpen.set(func(int) error { return errors.New("dead") })
		settle(time.Minute)
		_ = r.Close()
		if err := os.WriteFile(l.path, left, 0o600); err != nil {
			t.Fatal(err)
		}
		held := r.delivery(poison) // by nobody any more
		if _, err := l.store.Finish(t.Context(), []store.Finish{{Lease: held.Lease(), State: store.Pending}}); err != nil {
			t.Fatal(err)
		}
		r = l.begin(hangs)
		settle(time.Second)
		if d := r.delivery(poison); d.State != store.Dead {
			t.Errorf("poison is %s", d.State)
		}
		if n := r.upstream.count(); n != 0 {
			t.Errorf("poison was tried %d times more", n)
		}
		r.close()
	})
}

// TestC20_AnEndForAFailedStoreIsNoDeath ends the process over a failed store, as
// on_storage_failure exit has it.
func TestC20_AnEndForAFailedStoreIsNoDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t)
		r := l.begin(hangs)
		var left []byte
		r.generation.Failed = func(error) { left, _ = os.ReadFile(l.path) } // what an exit leaves behind
		r.accept("innocent")
		settle(time.Millisecond)
		r.store.accept.set(func([]store.Acceptance) error { return store.ErrFailed })
		if _, err := r.Accept(t.Context(), r.inbound("b")); err == nil {
			t.Fatal("accepted by a store that has failed")
		}
		settle(time.Millisecond)
		r.store.accept.set(nil)
		settle(time.Minute)
		r.close()
		if err := os.WriteFile(l.path, left, 0o600); err != nil {
			t.Fatal(err)
		}
		r = l.begin(nil)
		if s := r.current.Load().trial.suspects; len(s) > 0 {
			t.Errorf("suspect: %v", s)
		}
		settle(time.Minute)
		r.close()
	})
}
