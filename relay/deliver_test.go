// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

func TestP3_EveryMessageIsDeliveredToEveryDestination(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		other := &upstream{}
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream}, Destination{ID: "e", Deliverer: other}))
		for i := range 300 {
			r.accept(fmt.Sprint(i), "d", "e")
		}
		settle(time.Minute)
		for _, u := range []*upstream{r.upstream, other} {
			bodies := u.bodies()
			slices.Sort(bodies)
			if n := len(slices.Compact(bodies)); n != 300 || u.count() != 300 {
				t.Errorf("%d attempts of %d messages", u.count(), n)
			}
		}
	})
}

func TestP8_RetriesFollowThePolicyUntilItGivesUp(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		rule := retry.Rule{Policy: retry.Exponential{First: time.Second, Longest: time.Minute, GiveUpAfter: 10 * time.Minute}}
		var starts []time.Time
		r.upstream.set(func(context.Context, Attempt) Result {
			starts = append(starts, time.Now())
			return Result{Outcome: store.Refused, Status: http.StatusInternalServerError}
		})
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: rule}))
		began := time.Now()
		id := r.accept("a").ID
		settle(11 * time.Minute)
		want := time.Second
		for i := 1; i < len(starts); i++ {
			gap := starts[i].Sub(starts[i-1])
			last := i == len(starts)-1
			// An outcome is committed a little after the attempt.
			if gap > want*12/10+2*finishDelay || gap < want*8/10 && !last {
				t.Errorf("gap %d is %v, want %v and a fifth", i, gap, want)
			}
			want = min(2*want, time.Minute)
		}
		if age := starts[len(starts)-1].Sub(began); age < 10*time.Minute || age > 10*time.Minute+probeEvery {
			t.Errorf("the last attempt was at %v, want 10m", age)
		}
		r.expect(id, store.Dead, uint32(len(starts)))
	})
}

func TestP8_RetryAfterPutsTheNextAttemptOff(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.upstream.set(func(ctx context.Context, a Attempt) Result {
			if a.Number > 1 {
				return Result{Outcome: store.Succeeded, Status: http.StatusOK}
			}
			result := refuses(ctx, a)
			result.RetryAfter = time.Hour
			return result
		})
		id := r.accept("a").ID
		settle(time.Hour - time.Second)
		r.expect(id, store.Waiting, 1)
		settle(2 * time.Second)
		r.expect(id, store.Delivered, 2)
	})
}

func TestP8_OnlyTheDestinationsOwnFaultsAreCounted(t *testing.T) {
	broken := fmt.Errorf("nothing answers")
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.upstream.set(func(ctx context.Context, a Attempt) Result {
			if a.Number < 4 {
				return Result{Outcome: store.Unhandled, Err: broken}
			}
			return refuses(ctx, a)
		})
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: retry.Rule{Policy: retry.Fixed{Every: time.Second}, Attempts: 2}}))
		id := r.accept("a").ID
		settle(time.Second)
		r.expect(id, store.Waiting, 1)
		settle(15 * time.Minute)
		r.expect(id, store.Dead, 5)
		if d := r.delivery(id); d.Tries != 2 {
			t.Errorf("%d tries are counted, want 2", d.Tries)
		}
	})
}

func TestAPanicIsAFailedAttempt(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.upstream.set(func(_ context.Context, a Attempt) Result {
			if a.Number == 1 {
				panic("boom")
			}
			return Result{Outcome: store.Succeeded, Status: http.StatusOK}
		})
		id := r.accept("a").ID
		settle(10 * time.Second)
		r.expect(id, store.Delivered, 2)
		if got := r.outcomes(id); !slices.Equal(got, []store.Outcome{store.Broken, store.Succeeded}) {
			t.Errorf("outcomes are %v", got)
		}
	})
}

func TestAnAttemptEndsWithItsTimeout(t *testing.T) {
	bubble(t, hangs, func(t *testing.T, r *rig) {
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Timeout: 3 * time.Second, Retry: retry.Rule{Policy: retry.Off()}}))
		id := r.accept("a").ID
		settle(3*time.Second + time.Second/2)
		r.expect(id, store.Dead, 1)
		if got := r.outcomes(id); !slices.Equal(got, []store.Outcome{store.TimedOut}) {
			t.Errorf("outcomes are %v", got)
		}
	})
}

// A deliverer that says so although nothing cut it off used to be tried again at
// once, for ever.
func TestOnlyTheShutdownCutsAttemptsOff(t *testing.T) {
	for name, wrong := range map[string]Result{"aborted": {Outcome: store.Aborted}, "nothing": {}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(context.Context, Attempt) Result { return wrong }, func(t *testing.T, r *rig) {
				id := r.accept("a").ID
				settle(time.Second / 2)
				r.expect(id, store.Waiting, 1)
				if got := r.outcomes(id); !slices.Equal(got, []store.Outcome{store.Broken}) {
					t.Errorf("outcomes are %v", got)
				}
			})
		})
	}
}

func TestAnAlteredBodyIsNeverDelivered(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		id := r.accept("a").ID
		synctest.Wait()
		r.store.changed.set(func(m *store.Message) { m.Request.Body[0] ^= 1 })
		settle(time.Minute)
		r.expect(id, store.Dead, 2)
		if got := r.outcomes(id); !slices.Equal(got, []store.Outcome{store.Refused, store.Quarantined}) {
			t.Errorf("outcomes are %v", got)
		}
		if r.upstream.count() != 1 {
			t.Errorf("%d attempts reached the deliverer, want the one before the change", r.upstream.count())
		}
	})
}

// Such a delivery used to be given back at once and claimed again, as fast as
// the store could commit.
func TestAMessageThatCanNotBeReadIsTriedAgainLater(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		r.accept("a")
		synctest.Wait()
		loads := 0
		r.store.message.set(func(store.MessageID) error { loads++; return errors.New("input/output error") })
		settle(time.Minute)
		if loads < 8 || loads > 16 {
			t.Errorf("%d loads in a minute, want one every 5 s", loads)
		}
		r.store.message.set(nil)
		r.upstream.set(nil)
		settle(time.Minute)
		if r.upstream.count() != 2 {
			t.Errorf("%d attempts", r.upstream.count())
		}
	})
}

func TestADeletedMessageIsForgotten(t *testing.T) {
	bubble(t, hangs, func(t *testing.T, r *rig) {
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, MaxInFlight: 1, Timeout: time.Second}))
		first, second := r.accept("a").ID, r.accept("b").ID
		for _, id := range []store.MessageID{first, second} {
			if err := r.store.Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		r.upstream.set(nil)
		settle(time.Minute)
		if books, _ := r.Books(t.Context()); books["d"].Deleted != 2 || books["d"].Open != 0 {
			t.Errorf("books are %+v", books["d"])
		}
		r.accept("c")
		settle(time.Second)
		if last := r.upstream.bodies(); last[len(last)-1] != "c" {
			t.Errorf("attempts were made of %q", last)
		}
	})
}

func TestErrorTextsAreBoundedText(t *testing.T) {
	for _, err := range []error{
		nil, errors.New("short"), errors.New(strings.Repeat("é", 400)), errors.New("\xff\xfe bytes"),
		errors.New("x" + strings.Repeat("€", 400)),
	} {
		text := errorText(err)
		if !utf8.ValidString(text) || len(text) > maxErrorText+2 {
			t.Errorf("%d bytes, valid %v: %q", len(text), utf8.ValidString(text), text)
		}
	}
}

func TestP11_AHungDestinationDelaysNoOther(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		hung := &upstream{answer: hangs}
		r.Attach(r.to(
			Destination{ID: "hung", Deliverer: hung, Timeout: time.Hour, MaxInFlight: 8},
			Destination{ID: "d", Deliverer: r.upstream},
		))
		for i := range 3000 {
			r.accept(fmt.Sprint(i), "hung", "d")
		}
		settle(time.Second)
		if r.upstream.count() != 3000 {
			t.Errorf("%d of 3000 were delivered beside a destination that hangs", r.upstream.count())
		}
		if hung.most != 8 {
			t.Errorf("%d attempts hang at once, want 8", hung.most)
		}
	})
}

func TestP11_FailuresAreTriedWithinTheirSlotsAndOthersGoOn(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		down := &upstream{answer: refuses}
		r.Attach(r.to(Destination{ID: "down", Deliverer: down, Retry: retry.Default(), MaxInFlight: 4}, Destination{ID: "d", Deliverer: r.upstream}))
		for i := range 2000 {
			r.accept(fmt.Sprint(i), "down", "d")
		}
		settle(time.Hour)
		if r.upstream.count() != 2000 || down.most > 4 {
			t.Errorf("%d delivered, %d at once for the one that is down", r.upstream.count(), down.most)
		}
		down.set(nil)
		settle(time.Hour)
		if books, _ := r.Books(t.Context()); books["down"].Delivered != 2000 {
			t.Errorf("books of the one that was down: %+v", books["down"])
		}
	})
}

func TestP14_BooksBalanceWhateverHappens(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.upstream.set(func(ctx context.Context, a Attempt) Result {
			switch a.Message.Request.Body[0] % 4 {
			case 0:
				return refuses(ctx, a)
			case 1:
				if a.Number == 1 {
					panic("boom")
				}
				return Result{Outcome: store.Refused, Status: http.StatusNotFound}
			case 2:
				return Result{Outcome: store.Unhandled}
			default:
				return Result{Outcome: store.Succeeded, Status: http.StatusOK}
			}
		})
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: retry.Rule{Policy: retry.Fixed{Every: time.Second}, Attempts: 3}}))
		for i := range 100 {
			r.accept(fmt.Sprint(i), "d", "gone")
		}
		settle(10 * time.Minute)
		r.balanced()
		books, _ := r.Books(t.Context())
		if b := books["d"]; b.Made != 100 || b.Dead == 0 || b.Open == 0 || b.Delivered == 0 {
			t.Errorf("books are %+v", b)
		}
		if b := books["gone"]; b.Made != 100 || b.Open != 100 {
			t.Errorf("books of the destination that is not in force are %+v", b)
		}
	})
}
