// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

// stepping is a clock without monotonic readings that can be set. Its timers run
// on, as those of the operating system do.
type stepping struct {
	mu sync.Mutex
	by time.Duration
}

func (c *stepping) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Round(0).Add(c.by)
}

func (c *stepping) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

func (c *stepping) set(to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by = time.Until(to)
}

// steps are the times to which clocks are set, seen from the present.
var steps = map[string]func(now time.Time) time.Time{
	"an hour ahead":  func(now time.Time) time.Time { return now.Add(time.Hour) },
	"an hour back":   func(now time.Time) time.Time { return now.Add(-time.Hour) },
	"two days ahead": func(now time.Time) time.Time { return now.Add(48 * time.Hour) },
	"two days back":  func(now time.Time) time.Time { return now.Add(-48 * time.Hour) },
	"1970":           func(time.Time) time.Time { return time.Unix(0, 0) },
	"2038":           func(time.Time) time.Time { return time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC) },
}

// TestT17_NoStepOfTheClockExceedsARateOrKeepsARetry sets the clock of an engine
// in the middle of a backlog at a rate, and while a delivery waits for a retry.
func TestT17_NoStepOfTheClockExceedsARateOrKeepsARetry(t *testing.T) {
	limit := RateLimit{Events: 10, Window: 10 * time.Second}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			steppingEngine(t, func(t *testing.T, e *Engine, clock *stepping, in func(string, ...string) Inbound) {
				var rated upstream
				var times []time.Time
				rated.answer = func(ctx context.Context, a Attempt) Result {
					rated.mu.Lock()
					defer rated.mu.Unlock()
					times = append(times, time.Now())
					return succeeds(ctx, a)
				}
				failing := &upstream{answer: refuses}
				e.Attach(&Generation{Destinations: []Destination{
					{ID: "rated", Deliverer: &rated, Rate: limit},
					{ID: "failing", Deliverer: failing, Retry: retry.Rule{Policy: retry.Fixed{Every: 20 * time.Minute}}},
				}, DedupeWindow: 24 * time.Hour})
				settle(30 * time.Second)
				accept := func(body, destination string) {
					if _, err := e.Accept(t.Context(), in(body, destination)); err != nil {
						t.Fatal(err)
					}
				}
				accept("waits", "failing")
				settle(10 * time.Second)
				for i := range 100 {
					accept(fmt.Sprint(i), "rated")
				}
				settle(time.Second)
				clock.set(step(time.Now()))
				accept("more", "rated")
				settle(2 * time.Minute)
				if n := most(times, limit.Window); n > limit.Events {
					t.Errorf("%d attempts within one window, want at most %d", n, limit.Events)
				}
				if len(times) != 101 {
					t.Errorf("%d attempts in two minutes, want all 101", len(times))
				}
				settle(25 * time.Minute)
				if n := failing.count(); n < 2 {
					t.Errorf("%d attempts of what waits for 20 minutes, want its retry", n)
				}
			})
		})
	}
}

// TestT17_NoStepOfTheClockShortensADedupeWindow sets the clock of an engine over
// a store whose own clock, as that of pebble, does not follow.
func TestT17_NoStepOfTheClockShortensADedupeWindow(t *testing.T) {
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			steppingEngine(t, func(t *testing.T, e *Engine, clock *stepping, in func(string, ...string) Inbound) {
				e.Attach(&Generation{Destinations: []Destination{{ID: "d", Deliverer: &upstream{}}}, DedupeWindow: 24 * time.Hour, Retention: time.Hour})
				verdict := func() store.Verdict {
					r, err := e.Accept(t.Context(), in("a"))
					if err != nil {
						t.Fatal(err)
					}
					return r.Verdict
				}
				verdict()
				settle(time.Minute)
				clock.set(step(time.Now()))
				for range 23 {
					settle(time.Hour)
					if v := verdict(); v == store.Fresh {
						t.Fatal("the event is fresh within its window")
					}
				}
			})
		})
	}
}

func TestT17_WhatIsDueKeepsItsOrderOverStepsOfTheClock(t *testing.T) {
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			b := newBench(destination("a", 1), destination("b", 1), destination("c", 1))
			var elapsed time.Duration // what has really passed
			by := time.Duration(0)
			pass := func(d time.Duration) {
				elapsed += d
				b.now = time.Unix(1_700_000_000, 0).Add(elapsed + by)
			}
			wait := func(id string, in time.Duration) {
				b.do(event{kind: becameWaiting, destination: id, at: b.now.Add(in)})
			}
			wait("a", 10*time.Second)
			wait("c", 30*time.Second)
			pass(time.Second)
			by = step(b.now).Sub(b.now)
			pass(time.Second)
			wait("b", 18*time.Second)
			var order []string
			for range 10 {
				if b.armedAt.IsZero() {
					break
				}
				// The timer fires after the time that it was set for, whatever the clock shows.
				pass(max(0, b.armedAt.Sub(b.latest)))
				for _, a := range b.do(event{kind: timerFired}) {
					if a[:5] == "claim" {
						order = append(order, a[6:7])
					}
				}
			}
			ahead := by > 0
			if got := fmt.Sprint(order); !ahead && got != "[a b c]" || ahead && got != "[a c b]" && got != "[a b c]" {
				t.Errorf("claimed in the order %v", got)
			}
			if elapsed > time.Minute {
				t.Errorf("the last one was claimed after %v", elapsed)
			}
		})
	}
}

func TestATimerThatFiresAfterAStepBackIsNotSetAgainForTheSameTime(t *testing.T) {
	var w watch
	begin := time.Unix(1_700_000_000, 0)
	w.steady(begin, time.Time{}, false)
	armed := begin.Add(time.Hour)
	if got := w.steady(begin.Add(-47*time.Hour), armed, true); !got.Equal(armed) {
		t.Errorf("it is %v before the time of the timer that has fired", armed.Sub(got))
	}
	if got := w.steady(begin.Add(-46*time.Hour), time.Time{}, false); !got.Equal(armed.Add(time.Hour)) {
		t.Errorf("an hour later %v have passed", got.Sub(armed))
	}
}

// steppingEngine runs a test with an engine whose clock can be set, over a store
// whose clock never steps.
func steppingEngine(t *testing.T, test func(t *testing.T, e *Engine, c *stepping, in func(body string, destinations ...string) Inbound)) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		clock := new(stepping)
		e := New(Options{Clock: clock, Open: func(context.Context) (store.Store, error) {
			return kept{memory.New(memory.Options{})}, nil
		}})
		if err := e.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		own := &rig{t: t, Engine: e}
		test(t, e, clock, own.inbound)
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestT17_WhatAStepBackHidesIsNoTimeForARate sets a clock back long before that is
// seen, which is when a timer fires that was set before.
func TestT17_WhatAStepBackHidesIsNoTimeForARate(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const back = -22 * time.Minute
	at := func(passed time.Duration) time.Time { return begin.Add(passed) }
	armed := at(56 * time.Second)
	var w watch
	w.steady(at(0), armed, false)
	first := w.steady(at(33*time.Second+back), armed, false).Add(-w.leapt)
	steady := w.steady(at(56*time.Second+back), armed, true)
	if !steady.Equal(armed) {
		t.Errorf("a timer for %v has fired, and it is %v", armed, steady)
	}
	if passed := steady.Add(-w.leapt).Sub(first); passed > 23*time.Second {
		t.Errorf("for rates %v have passed in 23 s", passed)
	}
	if later := w.steady(at(66*time.Second+back), armed, false); later.Sub(steady) != 10*time.Second {
		t.Errorf("afterwards %v have passed in 10 s", later.Sub(steady))
	}
}
