// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

func TestAMessageIsHandedOverWithoutReadingItBack(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.store.message.set(func(store.MessageID) error { return errors.New("read back") })
		claims := 0
		settle(time.Second)
		r.store.claim.set(func(store.ClaimRequest) error { claims++; return nil })
		for i := range 100 {
			r.accept(fmt.Sprint(i))
		}
		settle(time.Second)
		if r.upstream.count() != 100 || claims != 0 {
			t.Errorf("%d attempts, %d claims", r.upstream.count(), claims)
		}
	})
}

func TestWhatDoesNotFitTheWindowIsDeliveredFromTheStoreOldestFirst(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		gate := make(chan struct{})
		r.upstream.set(func(context.Context, Attempt) Result {
			<-gate
			return Result{Outcome: store.Succeeded}
		})
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, MaxInFlight: 1, Timeout: time.Hour}))
		settle(time.Second)
		var want []string
		for i := range 3 * readyWindow {
			want = append(want, fmt.Sprint(i))
			r.accept(want[i])
		}
		settle(time.Second)
		if n := r.current.Load().dispatcher.scheduler.queues["d"].waiting(); n != readyWindow {
			t.Errorf("%d deliveries are held in memory, want %d", n, readyWindow)
		}
		close(gate)
		settle(time.Minute)
		got := r.upstream.bodies()
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("attempt %d is of message %s", i, got[i])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d attempts, want %d", len(got), len(want))
		}
		if used := r.Budget().Used(); used != 0 {
			t.Errorf("%d bytes are taken when all is delivered", used)
		}
	})
}

// Bodies that waited for a slow destination used to take the memory that new
// messages need, which were refused then although the store had room for them.
func TestP10_WaitingDeliveriesDoNotKeepNewMessagesOut(t *testing.T) {
	bubble(t, hangs, func(t *testing.T, r *rig) {
		g := r.to(Destination{ID: "d", Deliverer: r.upstream, MaxInFlight: 4, Timeout: time.Hour})
		g.MaxBuffer = 1 << 20
		r.Attach(g)
		body := strings.Repeat("x", 32<<10)
		for i := range 200 {
			r.accept(fmt.Sprint(i) + body)
		}
		if used := r.Budget().Used(); used > g.MaxBuffer/4+64<<10 {
			t.Errorf("%d bytes are held for deliveries that wait, want a quarter of %d", used, g.MaxBuffer)
		}
		r.upstream.set(nil)
		settle(2 * time.Hour)
		if books, _ := r.Books(t.Context()); books["d"].Delivered != 200 {
			t.Errorf("books are %+v", books["d"])
		}
	})
}

// errBusy is what a store says that does not want to just now.
var errBusy = errors.New("busy")

// courses are what can become of a message between its body and its end.
var courses = map[string]func(t *testing.T, r *rig){
	"delivered": func(_ *testing.T, r *rig) { r.accept("a") },
	"without a destination": func(t *testing.T, r *rig) {
		in := r.inbound("a")
		in.Targets = nil
		if _, err := r.Accept(t.Context(), in); err != nil {
			t.Error(err)
		}
	},
	"to several destinations": func(_ *testing.T, r *rig) { r.accept("a", "d", "d2", "gone") },
	"after a failed attempt": func(t *testing.T, r *rig) {
		r.upstream.set(refuses)
		r.accept("a")
		settle(time.Second / 2)
		if used := r.Budget().Used(); used != 0 {
			t.Errorf("%d bytes are taken while the delivery waits for its retry", used)
		}
	},
	"a duplicate": func(_ *testing.T, r *rig) { r.accept("a"); r.accept("a") },
	"a failed commit": func(t *testing.T, r *rig) {
		r.store.accept.set(func([]store.Acceptance) error { return errBusy })
		if _, err := r.Accept(t.Context(), r.inbound("a")); !errors.Is(err, errBusy) {
			t.Error(err)
		}
	},
	"over the deadline": func(t *testing.T, r *rig) {
		r.store.accept.set(func([]store.Acceptance) error { time.Sleep(time.Second); return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := r.Accept(ctx, r.inbound("a")); !errors.Is(err, ErrDeadline) {
			t.Error(err)
		}
	},
	"while draining": func(t *testing.T, r *rig) { r.Drain(t.Context()); r.accept("a") },
	"released by the drain": func(t *testing.T, r *rig) {
		r.upstream.set(hangs)
		for i := range 100 {
			r.accept(fmt.Sprint(i))
		}
		r.Drain(t.Context())
	},
	"after the close": func(t *testing.T, r *rig) {
		r.close()
		if _, err := r.Accept(t.Context(), r.inbound("a")); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	},
	"in the queue at the close": func(t *testing.T, r *rig) {
		r.store.accept.set(func([]store.Acceptance) error { time.Sleep(time.Second); return nil })
		for i := range 1000 {
			go func() { _, _ = r.Accept(context.Background(), r.inbound(fmt.Sprint(i))) }()
		}
		synctest.Wait()
	},
	"a destination that goes": func(_ *testing.T, r *rig) {
		r.upstream.set(hangs)
		for i := range 100 {
			r.accept(fmt.Sprint(i))
		}
		r.Detach(r.generation)
	},
}

func TestTheMemoryOfAMessageIsGivenBackOnce(t *testing.T) {
	for name, course := range courses {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				course(t, r)
				settle(2 * time.Minute)
				if used := r.Budget().Used(); used != 0 {
					t.Errorf("%d bytes are taken when all is over", used)
				}
			})
		})
	}
}

func TestBudgetIsSharedFairlyAndNeverExceeded(t *testing.T) {
	b := NewBudget(100)
	one, other, more := b.Reserve("a"), b.Reserve("b"), b.Reserve("a")
	if !one.Grow(50) || one.Grow(1) || more.Grow(1) {
		t.Error("one source does not get exactly half")
	}
	if !other.Grow(50) || other.Grow(1) {
		t.Error("another source does not get the other half")
	}
	one.Release()
	one.Release()
	if b.Used() != 50 {
		t.Errorf("%d bytes are taken, want 50", b.Used())
	}
	b.SetLimit(20)
	if one.Grow(1) {
		t.Error("memory was given over a limit that was lowered")
	}
	other.Release()
	if !one.Grow(10) || b.Used() != 10 || len(b.bySource) != 1 {
		t.Errorf("%d bytes are taken by %d sources", b.Used(), len(b.bySource))
	}
	var none *Reservation
	none.Release()
}
