// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// pass asks to let an event pass. It waits up to 2.5 seconds for another one.
func (r *rig) pass(event string) (*Pass, Receipt, error) {
	var identity [][]byte
	if event != "" {
		identity = [][]byte{[]byte(event)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2500*time.Millisecond)
	defer cancel()
	return r.Pass(ctx, &store.Message{Source: "s", VerifiedBy: "stripe"}, identity, 24*time.Hour)
}

// passes lets an event pass, which it must.
func (r *rig) passes(event string) *Pass {
	r.t.Helper()
	p, receipt, err := r.pass(event)
	if err != nil || p == nil {
		r.t.Fatalf("%s does not pass: %v, %v", event, receipt, err)
	}
	return p
}

// known checks that an event does not pass, because it has.
func (r *rig) known(event string) {
	r.t.Helper()
	if p, receipt, err := r.pass(event); err != nil || p != nil || receipt.Verdict != store.DuplicateDelivered || receipt.ID.IsZero() || receipt.AcceptedAt.IsZero() {
		r.t.Errorf("%s is %v %+v, %v", event, p, receipt, err)
	}
}

func TestPassIsKeptOnlyWithItsSuccess(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.passes("a").Drop()
		p := r.passes("a")
		if err := p.Keep(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.Drop() // comes too late
		r.known("a")
		r.current.Load().front.seen.Purge()
		r.known("a")
		other := r.passes("b")
		defer other.Drop()
		if p.id == other.id || p.id != store.MessageID(p.flight.key) {
			t.Error("ids are not those of the events")
		}
		for range 2 { // no identity, no duplicate
			if err := r.passes("").Keep(t.Context()); err != nil {
				t.Error(err)
			}
		}
		settle(25 * time.Hour)
		r.passes("a").Drop() // its window is over
	})
}

func TestConcurrentDuplicateWaitsForTheFirst(t *testing.T) {
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprint(kept), func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				first := r.passes("a")
				var passed, known atomic.Int32
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						p, _, err := r.pass("a")
						switch {
						case err != nil:
							t.Error(err)
						case p == nil:
							known.Add(1)
						default:
							passed.Add(1)
							if err := p.Keep(t.Context()); err != nil {
								t.Error(err)
							}
						}
					})
				}
				settle(time.Second)
				if n := passed.Load() + known.Load(); n != 0 {
					t.Errorf("%d have not waited", n)
				}
				want := int32(0)
				if kept {
					if err := first.Keep(t.Context()); err != nil {
						t.Error(err)
					}
				} else {
					first.Drop()
					want = 1
				}
				wg.Wait()
				if passed.Load() != want || known.Load() != 10-want {
					t.Errorf("%d passed, %d known", passed.Load(), known.Load())
				}
			})
		})
	}
}

func TestConcurrentDuplicateWaitsUpToTheDeadline(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		first := r.passes("a")
		begun := time.Now()
		if _, _, err := r.pass("a"); !errors.Is(err, ErrDeadline) || time.Since(begun) != 2500*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		if err := first.Keep(t.Context()); err != nil {
			t.Error(err)
		}
		r.known("a")
	})
}

// TestPassAndAcceptKnowEachOther changes a source from pass to deliveries and back.
func TestPassAndAcceptKnowEachOther(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		if err := r.passes("a").Keep(t.Context()); err != nil {
			t.Fatal(err)
		}
		accept := func(event string) store.Verdict {
			in := r.inbound(event)
			in.Message.VerifiedBy = "stripe"
			receipt, err := r.Accept(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			return receipt.Verdict
		}
		for range 2 {
			if v := accept("a"); v != store.DuplicatePurged {
				t.Errorf("verdict %s", v)
			}
			r.current.Load().front.seen.Purge()
		}
		if v := accept("b"); v != store.Fresh {
			t.Errorf("verdict %s", v)
		}
		r.known("b")
		if n := r.upstream.count(); n > 1 {
			t.Errorf("%d attempts", n)
		}
	})
}

func TestP2_NoSuccessWithoutItsKey(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.store.remember.set(func() error { return errors.New("disk full") })
		if err := r.passes("a").Keep(t.Context()); err == nil {
			t.Error("a key that was not kept is said to be")
		}
		r.store.remember.set(nil)
		if err := r.passes("a").Keep(t.Context()); err != nil {
			t.Error(err)
		}
		r.known("a")
		r.store.remember.set(func() error { time.Sleep(time.Minute); return nil })
		slow := r.passes("slow")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := slow.Keep(ctx); !errors.Is(err, ErrDeadline) {
			t.Errorf("a slow commit: %v", err)
		}
		settle(2 * time.Minute)
		r.known("slow")
	})
}

func TestP13_NothingPassesAFailedStore(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.beforeOpen.set(func(opens int) error {
			if opens < 4 {
				return errors.New("still broken")
			}
			r.store.remember.set(nil)
			return nil
		})
		r.store.remember.set(func() error { return store.ErrFailed })
		on := r.passes("b")
		if err := r.passes("a").Keep(t.Context()); !errors.Is(err, store.ErrFailed) {
			t.Errorf("kept in a failed store: %v", err)
		}
		for _, event := range []string{"a", "c"} {
			if p, _, err := r.pass(event); p != nil || !errors.Is(err, ErrNotReady) {
				t.Errorf("%s in a failed store: %v", event, err)
			}
		}
		settle(time.Minute)
		r.passes("a").Drop()
		if err := r.passes("c").Keep(t.Context()); err != nil {
			t.Error(err)
		}
		if err := on.Keep(t.Context()); err == nil {
			t.Error("a request that began before the store failed has got its 2xx")
		}
	})
}

// TestP2_OneSuccessPerKey sends few events from many senders through an app and a
// store that fail at random. No key gets two successes, and nothing passes once
// its key has had one.
func TestP2_OneSuccessPerKey(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		synctest.Test(t, func(t *testing.T) { randomPasses(t, seed) })
	})
}

func randomPasses(t *testing.T, seed uint64) {
	r := newRig(t, nil)
	random := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex
	chance := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	r.store.remember.set(func() error {
		time.Sleep(time.Duration(chance(4000)) * time.Millisecond)
		switch chance(20) {
		case 0:
			return store.ErrFailed
		case 1, 2:
			return errors.New("no")
		default:
			return nil
		}
	})
	var successes [3]atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				event := chance(len(successes))
				time.Sleep(time.Duration(chance(1000)) * time.Millisecond)
				before := successes[event].Load()
				p, _, err := r.pass(fmt.Sprint(event))
				if err != nil || p == nil {
					continue
				}
				if before > 0 {
					t.Errorf("seed %d: an event passes that has had its 2xx", seed)
				}
				time.Sleep(time.Duration(chance(3000)) * time.Millisecond)
				if chance(3) == 0 { // the app fails
					p.Drop()
					continue
				}
				ctx, cancel := context.WithTimeout(context.Background(), 2500*time.Millisecond)
				if err := p.Keep(ctx); err == nil {
					successes[event].Add(1)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	for event := range successes {
		if n := successes[event].Load(); n > 1 {
			t.Errorf("seed %d: event %d has had %d successes", seed, event, n)
		}
	}
	settle(time.Minute)
	r.close()
}

// TestP10_NothingPassesWhileManyKeysWaitForTheirCommit has a disk that does not
// answer: what passes then could not be kept, and each that waits takes memory.
func TestP10_NothingPassesWhileManyKeysWaitForTheirCommit(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		hung := make(chan struct{})
		r.store.remember.set(func() error { <-hung; return nil })
		for i := range mostKeeping {
			p := r.passes(fmt.Sprint("e", i))
			if err := p.Keep(expired()); !errors.Is(err, ErrDeadline) {
				t.Fatalf("keeping: %v", err)
			}
		}
		if p, _, err := r.pass("more"); p != nil || !errors.Is(err, ErrOverloaded) {
			t.Errorf("one more: %v, %v", p, err)
		}
		p, _, err := r.pass("") // has nothing to keep
		if err != nil {
			t.Error(err)
		}
		p.Drop()
		close(hung)
		synctest.Wait()
		r.passes("more").Drop()
	})
}
