// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

func TestP8_ADestinationThatIsDownIsProbedAndServedAtOnceWhenItIsBack(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		// Long gaps, so that what is tried meanwhile can only be probes.
		rule := retry.Rule{Policy: retry.Fixed{Every: 24 * time.Hour}}
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, MaxInFlight: 1, Retry: rule}))
		for i := range 100 {
			r.accept(string(rune('a' + i)))
		}
		settle(time.Second)
		if n := r.upstream.count(); n != breakerThreshold {
			t.Errorf("%d attempts before the breaker opens, want %d", n, breakerThreshold)
		}
		settle(time.Minute)
		if n := r.upstream.count() - breakerThreshold; n != 12 {
			t.Errorf("%d probes in a minute, want one every 5 s", n)
		}
		r.upstream.set(nil)
		settle(probeEvery)
		if books, _ := r.Books(t.Context()); books["d"].Delivered != 100 {
			t.Errorf("books are %+v after a probe has succeeded", books["d"])
		}
		for _, text := range []string{"destination is down: its deliveries wait, one of them probes it from time to time", "destination is back"} {
			if n := r.said.FilterMessage(text).Len(); n != 1 {
				t.Errorf("the operator was told %d times: %s", n, text)
			}
		}
	})
}

func TestTheConditionOfADestinationFollowsFromTheResult(t *testing.T) {
	for _, tt := range []struct {
		result Result
		want   condition
	}{
		{Result{Outcome: store.Succeeded, Status: http.StatusOK}, up},
		{Result{Outcome: store.Refused, Status: http.StatusNotFound}, up},
		{Result{Outcome: store.Refused, Status: http.StatusInternalServerError}, up},
		{Result{Outcome: store.Refused, Status: http.StatusServiceUnavailable}, down},
		{Result{Outcome: store.Refused, Status: http.StatusBadGateway}, down},
		{Result{Outcome: store.Unreachable, Err: errors.New("refused")}, down},
		{Result{Outcome: store.TimedOut}, down},
		{Result{Outcome: store.Broken}, down},
		{Result{Outcome: store.Unhandled}, unknown},
		{Result{Outcome: store.Aborted}, unknown},
		{Result{Outcome: store.Quarantined}, unknown},
	} {
		if got := conditionOf(tt.result); got != tt.want {
			t.Errorf("%s with status %d is %d, want %d", tt.result.Outcome, tt.result.Status, got, tt.want)
		}
	}
}

func TestAProbeThatFindsNothingOutLetsTheNextOneGo(t *testing.T) {
	b := newBench(destination("a", 4))
	b.fill("a", 20)
	for range breakerThreshold {
		b.do(event{kind: attemptEnded, destination: "a", found: down})
	}
	if b.reserve("a") {
		t.Error("a place was promised while the destination is down")
	}
	b.now = b.now.Add(probeEvery)
	if got := b.do(event{kind: timerFired}); len(got) != 1 {
		t.Fatalf("got %q when the time for a probe had come, want one attempt", got)
	}
	if got := b.do(event{kind: attemptEnded, destination: "a", slot: slot{probe: true}, found: unknown}); len(got) != 1 {
		t.Errorf("got %q after a probe without a finding, want the next one", got)
	}
	if got := b.do(event{kind: attemptEnded, destination: "a", slot: slot{probe: true}, found: up}); len(got) == 0 {
		t.Error("nothing is tried after a probe has succeeded")
	}
	if b.queues["a"].breaker.open {
		t.Error("the breaker is open after a probe has succeeded")
	}
}

func TestTheOperatorHearsOfEachDeadDelivery(t *testing.T) {
	const many = 50
	rejects := func(context.Context, Attempt) Result {
		return Result{Outcome: store.Refused, Status: http.StatusBadRequest}
	}
	bubble(t, rejects, func(t *testing.T, r *rig) {
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: retry.Rule{Policy: retry.Off()}}))
		for i := range many {
			r.accept(string(rune('a' + i)))
		}
		settle(time.Second)
		if n := r.said.FilterMessage("delivery is dead").Len(); n != many {
			t.Errorf("%d of %d dead deliveries were told of", n, many)
		}
	})
}

func TestAProbeIsTakenFromWhatWaitsAndNoneThatBeginsToWaitIsMissed(t *testing.T) {
	b := newBench(destination("a", 4))
	wait := func() []string {
		return b.do(event{kind: becameWaiting, destination: "a", at: b.now.Add(time.Hour)})
	}
	probe := func(want ...string) {
		t.Helper()
		b.now = b.now.Add(probeEvery)
		if got := b.do(event{kind: timerFired}); !slices.Equal(got, want) {
			t.Errorf("got %q when the time for a probe had come, want %q", got, want)
		}
	}
	nothing := newBench(destination("a", 4))
	for range breakerThreshold {
		b.do(event{kind: attemptEnded, destination: "a", found: down})
		nothing.do(event{kind: attemptEnded, destination: "a", found: down})
	}
	nothing.now = nothing.now.Add(probeEvery)
	if got := nothing.do(event{kind: timerFired}); len(got) > 0 {
		t.Errorf("got %q although nothing waits", got)
	}
	if got := wait(); !slices.Equal(got, []string{"wake in 5s"}) {
		t.Errorf("got %q for the first one that waits", got)
	}
	probe("hasten a 1", "wake in 59m55s")
	// This one comes before the answer that there was none.
	if got := wait(); !slices.Equal(got, []string{"wake in 5s"}) {
		t.Errorf("got %q, want the next probe for what has begun to wait meanwhile", got)
	}
	b.do(event{kind: hastenEnded, destination: "a"})
	probe("hasten a 1", "wake in 59m50s")
	if got := b.do(event{kind: hastenEnded, destination: "a", count: 1}); len(got) == 0 || got[0] != "claim a 256" {
		t.Errorf("got %q when one is due", got)
	}
}
