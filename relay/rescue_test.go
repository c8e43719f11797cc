// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

func TestP8_ADestinationThatGetsLittleIsServedSoonAfterItIsBack(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		id := r.accept("a").ID
		settle(time.Hour)
		if n := r.upstream.count(); n < 700 {
			t.Errorf("%d attempts in an hour, want a probe every 5 s", n)
		}
		if n := r.delivery(id).Attempts; n < 10 || n > 16 {
			t.Errorf("%d attempts are recorded, want those that the policy asks for", n)
		}
		r.upstream.set(nil)
		settle(probeEvery + 100*time.Millisecond)
		if d := r.delivery(id); d.State != store.Delivered {
			t.Errorf("the delivery is %s and due in %v", d.State, time.Until(d.DueAt))
		}
		settle(time.Hour)
		if n := r.said.FilterMessage("destination is back").Len(); n != 1 {
			t.Errorf("the operator was told %d times that it is back", n)
		}
	})
}

func TestP8_ProbesUseUpNoAttemptsAndKeepNothingAlive(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		schedule := retry.Schedule{5 * time.Second, 5 * time.Second, time.Minute, 10 * time.Minute, time.Hour}
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: retry.Rule{Policy: schedule}}))
		id := r.accept("a").ID
		settle(55 * time.Minute)
		if d := r.delivery(id); d.State.Final() || d.Tries > 5 {
			t.Errorf("the delivery is %s after %d tries before the last one is due", d.State, d.Tries)
		}
		settle(time.Hour)
		r.expect(id, store.Dead, 6)
	})
}

func TestP8_AllThatWaitsIsMadeDueOnceWhenTheDestinationIsBack(t *testing.T) {
	fails := func(context.Context, Attempt) Result {
		return Result{Outcome: store.Refused, Status: http.StatusInternalServerError}
	}
	bubble(t, fails, func(t *testing.T, r *rig) {
		rule := retry.Rule{Policy: retry.Fixed{Every: 24 * time.Hour}}
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: rule}))
		const many = 2*hastenBatch + 500
		for i := range many {
			r.accept(fmt.Sprint(i))
		}
		settle(time.Minute)
		var limits []int
		r.store.hasten.set(func(limit int) error { limits = append(limits, limit); return nil })
		r.upstream.set(refuses)
		for i := range breakerThreshold {
			r.accept(fmt.Sprint("more", i))
		}
		settle(time.Second)
		r.upstream.set(nil)
		settle(2 * probeEvery)
		if books, _ := r.Books(t.Context()); books["d"].Delivered != many+breakerThreshold {
			t.Errorf("books are %+v after a probe has succeeded", books["d"])
		}
		if want := []int{1, hastenBatch, hastenBatch, hastenBatch}; !slices.Equal(limits, want) {
			t.Errorf("made due in steps of %v, want %v", limits, want)
		}
	})
}

func TestP8_AStoreThatIsBusyPutsTheRescueOff(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		id := r.accept("a").ID
		settle(time.Hour)
		calls := 0
		r.store.hasten.set(func(int) error { calls++; return errors.New("busy") })
		settle(30 * time.Second)
		if calls < 3 || calls > 31 {
			t.Errorf("asked %d times in 30 s", calls)
		}
		r.upstream.set(nil)
		r.store.hasten.set(nil)
		settle(2 * probeEvery)
		if d := r.delivery(id); d.State != store.Delivered {
			t.Errorf("the delivery is %s", d.State)
		}
	})
}

func TestP8_ADestinationThatWasRepairedIsProbedWithTheNewConfiguration(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		waiting := r.accept("a").ID
		settle(time.Minute)
		for began := r.upstream.count(); r.upstream.count() == began; {
			settle(10 * time.Millisecond) // until a probe has just failed
		}
		fresh := r.accept("b").ID
		settle(10 * time.Millisecond)
		if d := r.delivery(fresh); d.Attempts != 0 {
			t.Error("an attempt was made between two probes")
		}
		r.Attach(r.to(Destination{ID: "d", Deliverer: &upstream{}}))
		settle(100 * time.Millisecond)
		for _, id := range []store.MessageID{waiting, fresh} {
			if d := r.delivery(id); d.State != store.Delivered {
				t.Errorf("%s is %s after the repair", id, d.State)
			}
		}
	})
}

func TestP8_ADestinationThatHasAskedForTimeIsNotProbedBefore(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.upstream.set(func(ctx context.Context, a Attempt) Result {
			result := refuses(ctx, a)
			result.RetryAfter = 10 * time.Minute
			return result
		})
		r.accept("a")
		settle(2 * time.Hour)
		if n := r.upstream.count(); n < 8 || n > 13 {
			t.Errorf("%d attempts in two hours, want one every 10 minutes or later", n)
		}
	})
}

func TestP8_AProbeThatHangsDoesNotHoldUpANewConfiguration(t *testing.T) {
	bubble(t, hangs, func(t *testing.T, r *rig) {
		r.accept("a")
		r.accept("b")
		settle(5 * time.Minute)
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Timeout: time.Hour}))
		settle(10 * time.Minute) // a probe hangs now
		began := r.upstream.count()
		other := &upstream{}
		r.Attach(r.to(Destination{ID: "d", Deliverer: other}))
		settle(100 * time.Millisecond)
		if other.count() == 0 || r.upstream.count() != began {
			t.Errorf("%d attempts with the new configuration", other.count())
		}
		if books, _ := r.Books(t.Context()); books["d"].Delivered != 1 {
			t.Errorf("books are %+v, want all delivered but the one that hangs", books["d"])
		}
	})
}

// An attempt that ran already when the breaker opened may close it while the
// probe still hangs.
func TestAProbeOfAnEarlierOutageNeitherOpensTheBreakerNorFreesTheNextProbe(t *testing.T) {
	b := newBench(destination("d", 40))
	b.fill("d", 40)
	ends := func(sl slot, found condition) {
		b.do(event{kind: attemptEnded, destination: "d", slot: sl, found: found})
	}
	open := func() slot {
		for range breakerThreshold {
			ends(slot{}, down)
		}
		b.now = b.now.Add(probeEvery)
		b.do(event{kind: handedOver, destination: "d", leased: numbered(99)})
		return slot{probe: true, outage: b.queues["d"].breaker.outage}
	}
	first := open()
	ends(slot{}, up)
	if ends(first, down); b.queues["d"].breaker.open {
		t.Error("a probe of an earlier outage has opened the breaker")
	}
	// One that is back has few slots at first, and a probe needs one.
	for range 15 {
		ends(slot{}, up)
	}
	open()
	if ends(first, down); !b.queues["d"].breaker.probing {
		t.Error("a probe of an earlier outage counts as the end of the one under way")
	}
}

func TestTheBreakerOpensForManyFailuresAtOnceAndForFewOverSomeTime(t *testing.T) {
	begin := time.Unix(1_700_000_000, 0)
	for name, tt := range map[string]struct {
		failures int
		every    time.Duration
		found    condition // before the last failure
		open     bool
	}{
		"two over a day":            {2, 24 * time.Hour, unknown, false},
		"three in four seconds":     {3, 2 * time.Second, unknown, false},
		"three in five seconds":     {3, 2500 * time.Millisecond, unknown, true},
		"nine at once":              {9, 0, unknown, false},
		"ten at once":               {10, 0, unknown, true},
		"ten with one that was met": {10, time.Second, up, false},
	} {
		t.Run(name, func(t *testing.T) {
			var b breaker
			for i := range tt.failures {
				now := begin.Add(time.Duration(i) * tt.every)
				if i == tt.failures-1 {
					b.ended(now, false, tt.found)
				}
				b.ended(now, false, down)
			}
			if b.open != tt.open {
				t.Errorf("open is %v", b.open)
			}
		})
	}
}

// shifted is a rig whose store's clock is set differently.
func shifted(t *testing.T, by time.Duration, test func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		settle(time.Second)
		r.store.Store = kept{memoryStore(by)}
		test(t, r)
	})
}

// TestP8_TimeThatTheStoreDoesNotCountGivesNothingUp has the store leave out two days,
// as after an opening under a clock that is ahead.
func TestP8_TimeThatTheStoreDoesNotCountGivesNothingUp(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: retry.Rule{Policy: retry.Fixed{Every: 10 * time.Minute, GiveUpAfter: time.Hour}}}))
		id := r.accept("a").ID
		settle(time.Minute)
		r.store.age.set(func(age time.Duration) time.Duration { return max(0, age-48*time.Hour) })
		settle(48 * time.Hour)
		if d := r.delivery(id); !d.State.Open() {
			t.Errorf("the delivery is %s after %d tries", d.State, d.Tries)
		}
		settle(90 * time.Minute)
		if d := r.delivery(id); d.State != store.Dead {
			t.Errorf("the delivery is %s after its time", d.State)
		}
	})
}

func TestP8_AgesAreToldByTheClockOfTheStore(t *testing.T) {
	fails := func(context.Context, Attempt) Result {
		return Result{Outcome: store.Refused, Status: http.StatusInternalServerError}
	}
	for _, by := range []time.Duration{-96 * time.Hour, 0, 96 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			shifted(t, by, func(t *testing.T, r *rig) {
				rule := retry.Rule{Policy: retry.Fixed{Every: 10 * time.Minute, GiveUpAfter: time.Hour}}
				r.upstream.set(fails)
				g := r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: rule})
				r.Attach(g)
				id := r.accept("a").ID
				settle(30 * time.Minute)
				if d := r.delivery(id); d.State != store.Waiting || d.Attempts < 2 {
					t.Errorf("after half of its time the delivery is %s after %d attempts", d.State, d.Attempts)
				}
				if v := r.accept("a").Verdict; v != store.DuplicateOpen {
					t.Errorf("the second one is %s", v)
				}
				r.close()
				again := New(Options{Open: func(context.Context) (store.Store, error) { return r.store, nil }})
				again.Attach(g)
				if err := again.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				settle(45 * time.Minute)
				r.expect(id, store.Dead, r.delivery(id).Attempts)
				if err := again.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestAMistakeInTheConfigurationIsMetLessAndLessOften(t *testing.T) {
	unhandled := func(context.Context, Attempt) Result { return Result{Outcome: store.Unhandled} }
	bubble(t, unhandled, func(t *testing.T, r *rig) {
		id := r.accept("a").ID
		settle(2 * time.Hour)
		// 1, 2, 4 and 8 minutes, and then 15.
		if d := r.delivery(id); d.Attempts < 10 || d.Attempts > 13 || d.Tries != 0 {
			t.Errorf("%d attempts in two hours, %d counted", d.Attempts, d.Tries)
		}
	})
}

func TestP4_TheWindowIsToldByTheClockOfTheStore(t *testing.T) {
	for _, by := range []time.Duration{-96 * time.Hour, 96 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			shifted(t, by, func(t *testing.T, r *rig) {
				r.accept("a")
				settle(25 * time.Hour)
				if v := r.accept("a").Verdict; v != store.Fresh {
					t.Errorf("after its window it is %s", v)
				}
				settle(time.Second)
				r.close()
			})
		})
	}
}

func TestP8_ADestinationThatWasSeenHealthyIsProbedAtOnceAndThenGetsAll(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		rule := retry.Rule{Policy: retry.Fixed{Every: 24 * time.Hour}}
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: rule}))
		const many = 50
		for i := range many {
			r.accept(fmt.Sprint(i))
		}
		settle(time.Minute)
		for began := r.upstream.count(); r.upstream.count() == began; {
			settle(10 * time.Millisecond) // until a probe has just failed
		}
		began := r.upstream.count()
		r.SeenHealthy("d")
		settle(100 * time.Millisecond)
		if n := r.upstream.count() - began; n != 1 {
			t.Errorf("%d attempts of a destination that is not what its check says, want one probe", n)
		}
		r.upstream.set(nil)
		r.SeenHealthy("d")
		settle(500 * time.Millisecond)
		if books, _ := r.Books(t.Context()); books["d"].Delivered != many {
			t.Errorf("books are %+v half a second after the destination was seen healthy", books["d"])
		}
	})
}

func TestP8_SeenHealthyMakesDueWhatWaitsForItsBackoff(t *testing.T) {
	fails := func(context.Context, Attempt) Result {
		return Result{Outcome: store.Refused, Status: http.StatusInternalServerError}
	}
	bubble(t, fails, func(t *testing.T, r *rig) {
		rule := retry.Rule{Policy: retry.Fixed{Every: 24 * time.Hour}}
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: rule}))
		id := r.accept("a").ID
		settle(time.Minute)
		r.SeenHealthy("unknown")
		settle(time.Minute)
		r.upstream.set(nil)
		r.SeenHealthy("d")
		settle(time.Second)
		r.expect(id, store.Delivered, 2)
	})
}

func TestP8_GoneIsDeadAtOnce(t *testing.T) {
	gone := func(context.Context, Attempt) Result {
		return Result{Outcome: store.Refused, Status: http.StatusGone}
	}
	bubble(t, gone, func(t *testing.T, r *rig) {
		id := r.accept("a").ID
		settle(time.Minute)
		r.expect(id, store.Dead, 1)
	})
}
