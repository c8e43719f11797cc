// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// disk is a store that fails from the moment it is told to until it has been
// opened again, as a disk does whose fsync has failed.
type disk struct {
	mu     sync.Mutex
	broken bool
}

func (d *disk) set(broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = broken
}

func (d *disk) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken {
		return fmt.Errorf("syncing: %w", store.ErrFailed)
	}
	return nil
}

func (d *disk) under(s *intercepted) {
	s.accept.set(func([]store.Acceptance) error { return d.err() })
	s.claim.set(func(store.ClaimRequest) error { return d.err() })
	s.finish.set(func([]store.Finish) error { return d.err() })
	s.message.set(func(store.MessageID) error { return d.err() })
}

func TestP13_AFailedStoreAcceptsNothingUntilItIsOpenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		settle(time.Second)
		var d disk
		d.under(r.store)
		closed := 0
		r.store.closed.set(func() { closed++ })
		r.accept("known")
		settle(time.Second)
		d.set(true)
		if _, err := r.Accept(t.Context(), r.inbound("a")); !errors.Is(err, store.ErrFailed) {
			t.Errorf("the message during whose commit the disk fails: %v", err)
		}
		for _, body := range []string{"a", "b", "known"} {
			if _, err := r.Accept(t.Context(), r.inbound(body)); !errors.Is(err, ErrNotReady) || !errors.Is(err, store.ErrFailed) {
				t.Errorf("%s after the failure: %v", body, err)
			}
		}
		if err := r.Health().Err; !errors.Is(err, ErrNotReady) {
			t.Errorf("Health: %v", err)
		}
		synctest.Wait()
		r.beforeOpen.set(func(opens int) error {
			if opens < 4 {
				return errors.New("still broken")
			}
			d.set(false)
			return nil
		})
		settle(7 * time.Second) // the gaps are 1, 2 and 4 seconds
		if r.opens != 4 || closed != 1 {
			t.Errorf("%d opens, %d closes of the failed one", r.opens, closed)
		}
		if err := r.Health().Err; err != nil {
			t.Errorf("Health when it is open again: %v", err)
		}
		if v := r.accept("known").Verdict; v != store.DuplicateDelivered {
			t.Errorf("the one accepted before the failure is %s", v)
		}
		r.accept("a")
		settle(time.Second)
		if n := r.upstream.count(); n != 2 {
			t.Errorf("%d attempts, want 2", n)
		}
		r.close()
	})
}

func TestP13_AFailureAnywhereEndsTheSession(t *testing.T) {
	for _, in := range []string{"claim", "finish", "message"} {
		t.Run(in, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				settle(time.Second)
				var d disk
				d.set(true)
				failing := intercepted{}
				d.under(&failing)
				r.beforeOpen.set(func(int) error { d.set(false); return nil })
				switch in {
				case "claim":
					r.store.claim.set(failing.claim.get())
					r.Detach(r.generation)
					r.accept("a")
					r.Attach(r.generation)
				case "finish":
					r.store.finish.set(failing.finish.get())
					r.accept("a")
				case "message":
					r.store.message.set(failing.message.get())
					r.Detach(r.generation)
					r.accept("a")
					r.Attach(r.generation)
				}
				settle(500 * time.Millisecond)
				if _, err := r.Accept(t.Context(), r.inbound("b")); !errors.Is(err, ErrNotReady) {
					t.Errorf("got %v, want %v", err, ErrNotReady)
				}
				settle(time.Minute)
				if r.opens != 2 {
					t.Errorf("%d opens", r.opens)
				}
				r.accept("b")
				settle(time.Second)
			})
		})
	}
}

func TestP13_WaitersOfACommitThatFailsAreAllRefused(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		fail := make(chan struct{})
		r.store.accept.set(func([]store.Acceptance) error { <-fail; return store.ErrFailed })
		results := make(chan error, 100)
		for i := range 100 {
			go func() {
				_, err := r.Accept(context.Background(), r.inbound(fmt.Sprint(i%10)))
				results <- err
			}()
		}
		synctest.Wait()
		close(fail)
		for range 100 {
			if err := <-results; !errors.Is(err, store.ErrFailed) {
				t.Errorf("got %v", err)
			}
		}
		r.store.accept.set(nil)
		settle(time.Minute)
	})
}

func TestAStoreThatIsOnlyBusyIsAskedAgain(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		busy := errors.New("busy")
		finishes := 0
		r.store.finish.set(func([]store.Finish) error {
			if finishes++; finishes < 4 {
				return busy
			}
			return nil
		})
		id := r.accept("a").ID
		settle(10 * time.Second)
		r.expect(id, store.Delivered, 1)
		if finishes != 4 || r.opens != 1 || r.upstream.count() != 1 {
			t.Errorf("%d finishes, %d opens, %d attempts", finishes, r.opens, r.upstream.count())
		}
	})
}

func TestAStoreThatFailsDuringTheCloseIsClosedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		closed := 0
		r.store.closed.set(func() { closed++ })
		r.store.finish.set(func([]store.Finish) error { return store.ErrFailed })
		r.accept("a")
		synctest.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		settle(time.Minute)
		if closed != 1 || r.opens != 1 {
			t.Errorf("%d closes, %d opens", closed, r.opens)
		}
	})
}

func TestCloseEndsTheAttemptsToOpenAFailedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.store.accept.set(func([]store.Acceptance) error { return store.ErrFailed })
		r.beforeOpen.set(func(int) error { return errors.New("broken for good") })
		if _, err := r.Accept(t.Context(), r.inbound("a")); !errors.Is(err, store.ErrFailed) {
			t.Error(err)
		}
		settle(time.Hour)
		if r.opens < 100 || r.opens > 130 {
			t.Errorf("%d opens in an hour, want one every 30 s", r.opens)
		}
		began := time.Now()
		r.close()
		if took := time.Since(began); took > 0 {
			t.Errorf("closed in %v", took)
		}
	})
}

// A store that hangs must not hang the engine: senders get their answer at their
// deadline, and the end comes in bounded time.
func TestAStoreThatHangsHoldsUpNobodyForEver(t *testing.T) {
	for _, in := range []string{"accept", "finish", "claim", "everything"} {
		for _, lets := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/lets go when closed %v", in, lets), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, nil)
					settle(time.Second)
					hang := make(chan struct{})
					stuck := func() error { <-hang; return store.ErrClosed }
					if in == "accept" || in == "everything" {
						r.store.accept.set(func([]store.Acceptance) error { return stuck() })
					}
					if in == "finish" || in == "everything" {
						r.store.finish.set(func([]store.Finish) error { return stuck() })
					}
					if in == "claim" || in == "everything" {
						r.store.claim.set(func(store.ClaimRequest) error { return stuck() })
						r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream}, Destination{ID: "other", Deliverer: r.upstream}))
					}
					r.store.closed.set(func() {
						if lets {
							close(hang)
							return
						}
						<-hang
					})
					ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
					defer cancel()
					if _, err := r.Accept(ctx, r.inbound("a")); err != nil && !errors.Is(err, ErrDeadline) {
						t.Errorf("Accept: %v", err)
					}
					began := time.Now()
					grace, cancel := context.WithTimeout(t.Context(), 4*time.Second)
					defer cancel()
					r.Drain(grace)
					if took := time.Since(began); took > 5*time.Second {
						t.Errorf("drained in %v", took)
					}
					began = time.Now()
					if err := r.Close(); (err == nil) != lets {
						t.Errorf("Close: %v", err)
					}
					if took := time.Since(began); took > closeLimit {
						t.Errorf("closed in %v", took)
					}
					if !lets {
						close(hang) // all that was left behind ends with it
					}
					settle(time.Minute)
					if used := r.Budget().Used(); used != 0 {
						t.Errorf("%d bytes are still taken", used)
					}
				})
			})
		}
	}
}

func TestOutcomesThatCanNotBeRecordedStopDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		settle(time.Second)
		hang := make(chan struct{})
		r.store.finish.set(func([]store.Finish) error { <-hang; return nil })
		for i := range 2 * maxUnrecorded {
			r.accept(fmt.Sprint(i))
		}
		settle(time.Minute)
		most := maxUnrecorded + finishBatch + DefaultMaxInFlight
		if n := r.upstream.count(); n > most {
			t.Errorf("%d attempts whose outcome is not recorded, want at most %d", n, most)
		}
		close(hang)
		settle(time.Minute)
		if n := r.upstream.count(); n != 2*maxUnrecorded {
			t.Errorf("%d attempts in the end", n)
		}
		r.close()
	})
}
