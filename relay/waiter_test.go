// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// patience is how long senders wait in these tests.
const patience = 10 * time.Second

// answers writes an answer of a body as a Deliverer does, after a time.
func answers(after time.Duration, body string) func(context.Context, Attempt) Result {
	return func(ctx context.Context, a Attempt) Result {
		select {
		case <-time.After(after): // virtual
		case <-ctx.Done():
			return hangs(ctx, a)
		}
		a.Waiter.Begin(http.StatusAccepted, http.Header{"X-App": {"yes"}, "Secret": {"no"}}, func(name string, _ []string) bool { return name != "Secret" })
		for part := range strings.SplitSeq(body, " ") {
			a.Waiter.Write([]byte(part))
		}
		return succeeds(ctx, a)
	}
}

// acceptAndWait accepts a message and waits for its answer. It returns how long
// that has taken.
func (r *rig) acceptAndWait(in Inbound, d time.Duration) (*Answer, Receipt, time.Duration) {
	r.t.Helper()
	begun := time.Now()
	in.Waiter = NewWaiter(r.Budget().Reserve("s"), 1<<10, 1<<20)
	defer in.Waiter.Leave()
	receipt, err := r.Accept(r.t.Context(), in)
	if err != nil {
		r.t.Fatal(err)
	}
	if receipt.Verdict != store.Fresh {
		return nil, receipt, 0
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), d)
	defer cancel()
	a := in.Waiter.Wait(ctx)
	if a != nil {
		kept := *a
		a = &kept
	}
	return a, receipt, time.Since(begun)
}

// expectNoWaiters checks that nobody is noted who waits.
func (r *rig) expectNoWaiters() {
	r.t.Helper()
	if n := len(r.current.Load().dispatcher.waiters.byID); n != 0 {
		r.t.Errorf("%d are still noted", n)
	}
}

func TestWaiterGetsTheAnswerOfTheFirstAttempt(t *testing.T) {
	bubble(t, answers(time.Second, "one two"), func(t *testing.T, r *rig) {
		a, receipt, took := r.acceptAndWait(r.inbound("x"), patience)
		if a == nil || a.Status != http.StatusAccepted || string(a.Body) != "onetwo" || len(a.Header) != 1 || took != time.Second {
			t.Errorf("answer %+v after %s", a, took)
		}
		settle(time.Second)
		r.expect(receipt.ID, store.Delivered, 1)
		if used := r.Budget().Used(); used != 0 {
			t.Errorf("%d bytes are still taken", used)
		}
	})
}

// TestWaiterGoesWithoutAnAnswer lists why there is none.
func TestWaiterGoesWithoutAnAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(context.Context, Attempt) Result
		before func(r *rig)
		took   time.Duration
	}{
		"the attempt fails": {answer: func(ctx context.Context, a Attempt) Result {
			_ = answers(0, "x")(ctx, a)
			return refuses(ctx, a)
		}},
		"it panics": {answer: func(ctx context.Context, a Attempt) Result {
			_ = answers(0, "x")(ctx, a)
			panic("no")
		}},
		"it succeeds without one":    {answer: succeeds},
		"it takes longer":            {answer: answers(time.Minute, "late"), took: patience},
		"it hangs to its timeout":    {answer: hangs, took: patience},
		"the body is over the limit": {answer: answers(0, strings.Repeat("x", 1<<20+1))},
		"the headers are over the limit": {answer: func(ctx context.Context, a Attempt) Result {
			a.Waiter.Begin(200, http.Header{"X": {strings.Repeat("x", 1<<10)}}, func(string, []string) bool { return true })
			return succeeds(ctx, a)
		}},
		"a redirect": {answer: func(ctx context.Context, a Attempt) Result {
			a.Waiter.Begin(302, http.Header{}, func(string, []string) bool { return true })
			return succeeds(ctx, a)
		}},
		"the message can not be kept in memory": {answer: answers(time.Minute, "x"), before: func(r *rig) {
			for source, size := range map[string]int64{"other": DefaultMaxBuffer / 2, "more": DefaultMaxBuffer / 4} {
				reservation := r.Budget().Reserve(source)
				if !reservation.Grow(size) {
					r.t.Fatal("no memory")
				}
				r.t.Cleanup(reservation.Release)
			}
		}},
		"the destination is gone": {answer: succeeds, before: func(r *rig) { r.Detach(r.generation) }, took: patience},
		"the engine drains":       {answer: succeeds, before: func(r *rig) { r.Drain(r.t.Context()) }},
		"the destination is paused": {answer: succeeds, before: func(r *rig) {
			if _, err := r.Pause(r.t.Context(), "d", "test"); err != nil {
				r.t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, tc.answer)
				if tc.before != nil {
					tc.before(r)
				}
				a, receipt, took := r.acceptAndWait(r.inbound("x"), patience)
				if a != nil || took != tc.took || receipt.Verdict != store.Fresh {
					t.Errorf("answer %+v of %v after %s, want none after %s", a, receipt, took, tc.took)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestWaiterOfABrokenDestinationDoesNotWait(t *testing.T) {
	bubble(t, func(context.Context, Attempt) Result {
		return Result{Outcome: store.Unreachable, Err: errors.New("connection refused")}
	}, func(t *testing.T, r *rig) {
		for i := range 20 { // until the breaker is open
			r.accept(strings.Repeat("x", i+1))
			settle(10 * time.Millisecond)
		}
		if a, _, took := r.acceptAndWait(r.inbound("waits"), patience); a != nil || took != 0 {
			t.Errorf("answer %+v after %s", a, took)
		}
	})
}

func TestWaiterWithoutASlotWaitsItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.generation = r.to(Destination{ID: "d", Deliverer: r.upstream, MaxInFlight: 1, Timeout: time.Minute})
		r.Attach(r.generation)
		r.upstream.set(answers(20*time.Second, "slow"))
		r.accept("first")
		a, receipt, took := r.acceptAndWait(r.inbound("second"), patience)
		if a != nil || took != patience {
			t.Errorf("answer %+v after %s", a, took)
		}
		settle(time.Minute)
		r.expect(receipt.ID, store.Delivered, 1)
		r.close()
	})
}

func TestSenderThatHangsUpChangesNothing(t *testing.T) {
	bubble(t, answers(5*time.Second, strings.Repeat("x ", 100)), func(t *testing.T, r *rig) {
		a, receipt, took := r.acceptAndWait(r.inbound("x"), time.Second)
		if a != nil || took != time.Second {
			t.Errorf("answer %+v after %s", a, took)
		}
		settle(5 * time.Second)
		r.expect(receipt.ID, store.Delivered, 1)
	})
}

func TestDuplicateDoesNotWait(t *testing.T) {
	bubble(t, answers(5*time.Second, "x"), func(t *testing.T, r *rig) {
		r.accept("x")
		if _, receipt, _ := r.acceptAndWait(r.inbound("x"), patience); receipt.Verdict != store.DuplicateOpen {
			t.Errorf("verdict %s", receipt.Verdict)
		}
		settle(10 * time.Second)
		if n := r.upstream.count(); n != 1 {
			t.Errorf("%d attempts", n)
		}
	})
}

// TestWaitIsOnlyForTheFirstAttempt has the first attempt fail and the second
// succeed while the sender would still wait.
func TestWaitIsOnlyForTheFirstAttempt(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.upstream.set(func(ctx context.Context, a Attempt) Result {
			if a.Number == 1 {
				return refuses(ctx, a)
			}
			if a.Waiter != nil {
				t.Error("the second attempt has a waiter")
			}
			return succeeds(ctx, a)
		})
		if a, _, took := r.acceptAndWait(r.inbound("x"), patience); a != nil || took != 0 {
			t.Errorf("answer %+v after %s", a, took)
		}
		settle(5 * time.Second)
	})
}

// TestP12_DrainLetsWaitersGo shuts down while a sender waits: cut off, its attempt
// is not counted, and nothing hangs.
func TestP12_DrainLetsWaitersGo(t *testing.T) {
	bubble(t, hangs, func(t *testing.T, r *rig) {
		go func() {
			time.Sleep(time.Second)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			r.Drain(ctx)
		}()
		a, receipt, took := r.acceptAndWait(r.inbound("x"), patience)
		if a != nil || took != 2*time.Second {
			t.Errorf("answer %+v after %s", a, took)
		}
		settle(time.Second)
		if d := r.delivery(receipt.ID); d.State != store.Pending {
			t.Errorf("delivery is %s", d.State)
		}
	})
}

// TestWaiterOfADeliveryFromTheStore waits while earlier deliveries are being
// fetched, so that its own has to be fetched too.
func TestWaiterOfADeliveryFromTheStore(t *testing.T) {
	bubble(t, answers(0, "x"), func(t *testing.T, r *rig) {
		synctest.Wait()
		r.store.claim.set(func(store.ClaimRequest) error {
			time.Sleep(time.Second)
			return nil
		})
		r.Detach(r.generation)
		r.accept("earlier")
		r.Attach(r.generation)
		a, receipt, took := r.acceptAndWait(r.inbound("later"), patience)
		if a == nil || string(a.Body) != "x" || took < time.Second || took >= patience {
			t.Errorf("answer %+v after %s", a, took)
		}
		settle(time.Second)
		r.expect(receipt.ID, store.Delivered, 1)
		r.expectNoWaiters()
	})
}

// TestWaiterThatLeavesIsForgotten has its delivery wait in the store for longer
// than the sender does.
func TestWaiterThatLeavesIsForgotten(t *testing.T) {
	bubble(t, answers(0, "x"), func(t *testing.T, r *rig) {
		synctest.Wait()
		r.store.claim.set(func(store.ClaimRequest) error {
			time.Sleep(time.Minute)
			return nil
		})
		r.Detach(r.generation)
		r.accept("earlier")
		r.Attach(r.generation)
		if a, _, took := r.acceptAndWait(r.inbound("later"), patience); a != nil || took != patience {
			t.Errorf("answer %+v after %s", a, took)
		}
		r.expectNoWaiters()
		if used := r.Budget().Used(); used != 0 {
			t.Errorf("%d bytes are still taken", used)
		}
		settle(5 * time.Minute)
	})
}

// TestWaiterInALaneGetsItsAnswerWhenItsTurnComes waits behind another delivery of
// the lane.
func TestWaiterInALaneGetsItsAnswerWhenItsTurnComes(t *testing.T) {
	bubble(t, answers(2*time.Second, "x"), func(t *testing.T, r *rig) {
		r.inLane("k", "earlier")
		in := r.inbound("later")
		in.Targets[0].OrderKey = "k"
		a, receipt, took := r.acceptAndWait(in, patience)
		if a == nil || string(a.Body) != "x" || took < 4*time.Second || took > 5*time.Second {
			t.Errorf("answer %+v after %s", a, took)
		}
		settle(time.Second)
		r.expect(receipt.ID, store.Delivered, 1)
		r.expectNoWaiters()
	})
}

// TestWaiterOfWhatIsTakenAwayDoesNotWait has the delivery wait in its lane when an
// operator ends it.
func TestWaiterOfWhatIsTakenAwayDoesNotWait(t *testing.T) {
	for name, take := range map[string]func(r *rig, id store.MessageID) error{
		"canceled": func(r *rig, id store.MessageID) error { _, err := r.Cancel(r.t.Context(), first(id)); return err },
		"deleted":  func(r *rig, id store.MessageID) error { return r.Delete(r.t.Context(), id) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, hangs, func(t *testing.T, r *rig) {
				r.inLane("k", "earlier")
				go func() {
					time.Sleep(time.Second)
					found, err := r.store.ListDeliveries(t.Context(), store.DeliveryQuery{Destination: "d", Limit: 2})
					if err == nil {
						err = take(r, found[1].ID.Message)
					}
					if err != nil {
						t.Error(err)
					}
				}()
				in := r.inbound("later")
				in.Targets[0].OrderKey = "k"
				if a, _, took := r.acceptAndWait(in, patience); a != nil || took != time.Second {
					t.Errorf("answer %+v after %s", a, took)
				}
			})
		})
	}
}
