// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// most returns how many of the times lie within a span of some length at most.
// They are in order.
func most(times []time.Time, span time.Duration) (most int) {
	first := 0
	for i, at := range times {
		for !at.Before(times[first].Add(span)) {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func TestP11_NoWindowOfARateSeesMoreThanItsAttempts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := RateLimit{
			Events: rapid.OneOf(rapid.IntRange(1, 5), rapid.IntRange(1, 5000)).Draw(t, "events"),
			Window: time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Hour)).Draw(t, "window")),
		}
		now := time.Unix(1_700_000_000, 0)
		var r rate
		r.set(now, limit)
		var times []time.Time
		for range rapid.IntRange(1, 200).Draw(t, "moments") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(limit.Window)/20).Draw(t, "step")))
			for n := rapid.IntRange(0, limit.Events).Draw(t, "asked"); n > 0; n-- {
				next := r.next(now)
				if next.After(now) {
					if next.After(now.Add(limit.Window)) {
						t.Fatalf("the next attempt is put off by %v", next.Sub(now))
					}
					break
				}
				r.take(now)
				times = append(times, now)
			}
			if kept := len(r.starts) - r.head; kept > rateParts+1 {
				t.Fatalf("%d entries are kept", kept)
			}
		}
		if n := most(times, limit.Window); n > limit.Events {
			t.Fatalf("%d attempts within one window of %+v", n, limit)
		}
	})
}

func TestARateIsUsedUpWhileThereIsWork(t *testing.T) {
	for _, limit := range []RateLimit{{1, time.Second}, {7, time.Second}, {1000, time.Second}, {100_000, time.Minute}} {
		now := time.Unix(1_700_000_000, 0)
		begin := now
		var r rate
		r.set(now, limit)
		want := 10 * limit.Events
		for range want {
			if next := r.next(now); next.After(now) {
				now = next
			}
			r.take(now)
		}
		if took := now.Sub(begin); took > 10*limit.Window+limit.Window/50 {
			t.Errorf("%d attempts at %+v took %v", want, limit, took)
		}
	}
}

// paced is a rig whose destination has a rate, and that remembers when attempts
// were started.
func paced(t *testing.T, limit RateLimit, test func(t *testing.T, r *rig, times *[]time.Time)) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		var times []time.Time
		r.upstream.set(func(ctx context.Context, a Attempt) Result {
			return succeeds(ctx, a)
		})
		slot := make(chan struct{}, 1)
		record := func(ctx context.Context, a Attempt) Result {
			slot <- struct{}{}
			times = append(times, time.Now())
			<-slot
			return Result{Outcome: store.Refused, Status: http.StatusInternalServerError}
		}
		r.upstream.set(record)
		rule := retry.Rule{Policy: retry.Fixed{Every: 300 * time.Millisecond}}
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Rate: limit, Retry: rule}))
		test(t, r, &times)
	})
}

func TestP11_RetriesCountAndAReloadForgetsNothing(t *testing.T) {
	limit := RateLimit{Events: 20, Window: 10 * time.Second}
	paced(t, limit, func(t *testing.T, r *rig, times *[]time.Time) {
		for i := range 50 {
			r.accept(fmt.Sprint(i))
		}
		for range 20 {
			settle(3 * time.Second)
			r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Rate: limit, Retry: retry.Rule{Policy: retry.Fixed{Every: time.Second}}}))
		}
		if n := most(*times, limit.Window); n > limit.Events || len(*times) < 6*limit.Events {
			t.Errorf("%d attempts in a minute, %d within one window", len(*times), n)
		}
	})
}

func TestP11_AStartIsNoBurst(t *testing.T) {
	limit := RateLimit{Events: 60, Window: time.Minute}
	paced(t, limit, func(t *testing.T, r *rig, times *[]time.Time) {
		for i := range 50 {
			r.accept(fmt.Sprint(i))
		}
		settle(10*time.Second + 10*time.Millisecond)
		if n := len(*times); n != 11 {
			t.Errorf("%d attempts in the first 10 s, want one at once and one per second", n)
		}
	})
}

func TestP8_ADestinationThatIsBackIsServedAtItsRate(t *testing.T) {
	limit := RateLimit{Events: 5, Window: time.Second}
	bubble(t, refuses, func(t *testing.T, r *rig) {
		rule := retry.Rule{Policy: retry.Fixed{Every: 24 * time.Hour}}
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Rate: limit, Retry: rule}))
		for i := range 100 {
			r.accept(fmt.Sprint(i))
		}
		settle(time.Minute)
		began := r.upstream.count()
		r.upstream.set(nil)
		settle(probeEvery)
		for range 5 {
			from := r.upstream.count()
			settle(time.Second)
			if n := r.upstream.count() - from; n > limit.Events {
				t.Errorf("%d attempts in a second", n)
			}
		}
		settle(20 * time.Second)
		if books, _ := r.Books(t.Context()); books["d"].Delivered != 100 {
			t.Errorf("books are %+v, %d attempts since it is back", books["d"], r.upstream.count()-began)
		}
	})
}
