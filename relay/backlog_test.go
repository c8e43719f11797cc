// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// bodySize is the size of the bodies of these tests, chunk what one takes.
	bodySize = 9 << 10
	chunk    = bodySize + entrySize
)

// bound puts a generation with a limit for the backlog of "s" in force.
func (r *rig) bound(l BacklogLimit) {
	g := r.to(Destination{ID: "s:d", Deliverer: r.upstream, Retry: retry.Default()})
	l.Source = "s"
	g.Backlogs = []BacklogLimit{l}
	r.Attach(g)
}

// sized is an inbound message with a body of bodySize.
func (r *rig) sized(id string) Inbound {
	in := r.inbound(id, "s:d")
	in.Reservation.Release()
	in.Reservation = nil
	in.Message.Request.Body = make([]byte, bodySize)
	return in
}

// fill accepts messages until one is refused for the backlog, and returns how many
// were accepted.
func (r *rig) fill(name string, change func(in *Inbound)) (n int) {
	r.t.Helper()
	for ; ; n++ {
		in := r.sized(fmt.Sprint(name, n))
		change(&in)
		_, err := r.Accept(r.t.Context(), in)
		if errors.Is(err, ErrBacklog) {
			return n
		}
		if err != nil || n > 1000 {
			r.t.Fatalf("message %d: %v", n, err)
		}
	}
}

func asItIs(*Inbound) {}

func TestP10_SourceIsRefusedAtItsBacklogAndTakenAgainBelow(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		r.bound(BacklogLimit{Max: 10 * chunk})
		if n := r.fill("first", asItIs); n != 10 {
			t.Errorf("%d messages accepted, want 10", n)
		}
		if receipt, err := r.Accept(t.Context(), r.sized("first0")); err != nil || receipt.Verdict != store.DuplicateOpen {
			t.Errorf("a duplicate, which takes no room: %+v, %v", receipt, err)
		}
		other := r.sized("other")
		other.Message.Source, other.Targets[0].Destination = "other", "other:d"
		if _, err := r.Accept(t.Context(), other); err != nil {
			t.Errorf("another source: %v", err)
		}
		books, err := r.Books(t.Context())
		if got := Backlogs(books); err != nil || got["s"] != 10*chunk || got["other"] != chunk {
			t.Errorf("backlogs are %v, %v", got, err)
		}
		r.upstream.set(nil)
		settle(time.Hour)
		if n := r.fill("next", asItIs); n < 10 {
			t.Errorf("%d messages accepted after the backlog was gone", n)
		}
	})
}

func TestP10_RestOfTheBacklogIsForSendersThatNeverSendAgain(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		r.bound(BacklogLimit{Max: 16 * chunk, Reserve: true})
		if n := r.fill("first", asItIs); n != 12 {
			t.Errorf("%d messages accepted, want 12", n)
		}
		if n := r.fill("last", func(in *Inbound) { in.ShedLast = true }); n != 4 {
			t.Errorf("%d messages of senders that never send again, want 4", n)
		}
		r.bound(BacklogLimit{Max: 20 * chunk})
		if n := r.fill("raised", asItIs); n != 4 {
			t.Errorf("%d messages accepted under a limit that was raised, want 4", n)
		}
	})
}

func TestBacklogHoldsWhatEachDestinationGets(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		r.bound(BacklogLimit{Max: 10 * chunk})
		twice := func(in *Inbound) { in.Targets = append(in.Targets, Target{Destination: "s:gone"}) }
		if n := r.fill("both", twice); n != 5 {
			t.Errorf("%d messages to two destinations accepted, want 5", n)
		}
	})
}

func TestP10_SendersAtOnceNeverPassTheBacklog(t *testing.T) {
	bubble(t, hangs, func(t *testing.T, r *rig) {
		const most = 40
		r.bound(BacklogLimit{Max: most * chunk})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := range 20 {
					in := r.sized(fmt.Sprint(i, "/", n))
					if _, err := r.Accept(t.Context(), in); err != nil && !errors.Is(err, ErrBacklog) {
						t.Errorf("Accept: %v", err)
					}
				}
			})
		}
		wg.Wait()
		books, err := r.Books(t.Context())
		if got := Backlogs(books)["s"]; err != nil || got != most*chunk {
			t.Errorf("backlog is %d, %v, want %d", got, err, most*chunk)
		}
	})
}

func TestRoomInTheBacklogComesBackFromACommitThatFailed(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		r.bound(BacklogLimit{Max: 10 * chunk})
		broken := errors.New("no")
		r.store.accept.set(func([]store.Acceptance) error { return broken })
		for i := range 20 {
			if _, err := r.Accept(t.Context(), r.sized(fmt.Sprint(i))); !errors.Is(err, broken) {
				t.Errorf("Accept: %v", err)
			}
		}
		r.store.accept.set(nil)
		if n := r.fill("next", asItIs); n != 10 {
			t.Errorf("%d messages accepted, want 10", n)
		}
	})
}
