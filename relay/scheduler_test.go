// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// bench is a scheduler with a clock that only moves when told.
type bench struct {
	*scheduler
	now time.Time

	// under are the attempts under way, bytes what was loaded by destination, of
	// those tests that note them.
	under []action
	bytes map[string]int64
}

func newBench(targets ...*target) *bench {
	b := &bench{scheduler: newScheduler(), now: time.Unix(1_700_000_000, 0)}
	b.configure(targets...)
	for _, t := range targets {
		b.do(event{kind: claimEnded, destination: t.ID})
	}
	return b
}

func (b *bench) configure(targets ...*target) []string {
	return b.do(event{kind: configured, targets: targets, memory: DefaultMaxBuffer})
}

// do takes one step and returns its actions as text.
func (b *bench) do(ev event) []string {
	var texts []string
	for _, a := range b.step(b.now, ev, nil) {
		texts = append(texts, a.text(b.now))
	}
	return texts
}

// text describes an action.
func (a action) text(now time.Time) string {
	switch a.kind {
	case startAttempt:
		return fmt.Sprintf("try %s %s/%d", a.target.ID, a.leased.delivery.ID, a.leased.delivery.Epoch)
	case startClaim:
		return fmt.Sprintf("claim %s %d", a.target.ID, a.limit)
	case releaseLease:
		return fmt.Sprintf("release %s/%d", a.leased.delivery.ID, a.leased.delivery.Epoch)
	case startHasten:
		return fmt.Sprintf("hasten %s %d", a.target.ID, a.limit)
	case tellDown:
		return "down " + a.target.ID
	case tellUp:
		return "up " + a.target.ID
	default:
		return fmt.Sprintf("wake in %v", a.at.Sub(now))
	}
}

func destination(id string, slots int) *target {
	return newTarget(Destination{ID: id, MaxInFlight: slots}, zap.NewNop())
}

// numbered returns the n-th delivery of a destination.
func numbered(n int) *leased {
	return &leased{delivery: store.Delivery{ID: store.DeliveryID{N: uint32(n)}, BodySize: 1}}
}

// fill hands deliveries over, as far as there is room.
func (b *bench) fill(id string, n int) (handed int) {
	for handed < n && b.reserve(id) {
		handed++
		b.do(event{kind: handedOver, destination: id, leased: numbered(handed)})
	}
	return handed
}

func TestANewDestinationIsClaimedFor(t *testing.T) {
	b := &bench{scheduler: newScheduler(), now: time.Unix(0, 0)}
	got := b.configure(destination("b", 1), destination("a", 1))
	if want := []string{"claim b 256", "claim a 256"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if again := b.configure(destination("a", 1)); len(again) > 0 {
		t.Errorf("a destination that stays is claimed for again: %q", again)
	}
}

func TestMaxInFlightBoundsADestination(t *testing.T) {
	b := newBench(destination("a", 3))
	b.fill("a", 10)
	if b.running != 3 {
		t.Errorf("%d attempts run, want 3", b.running)
	}
	b.configure(destination("a", 1))
	if got := b.do(event{kind: attemptEnded, destination: "a"}); len(got) > 0 {
		t.Errorf("%q although more than the new bound still run", got)
	}
	got := b.configure(destination("a", 5))
	if len(got) != 3 {
		t.Errorf("%q after the bound was raised from 2 running to 5", got)
	}
}

func TestTheWindowBoundsWhatIsReady(t *testing.T) {
	b := newBench(destination("a", 1))
	if got := b.fill("a", 5000); got != readyWindow+1 {
		t.Errorf("%d deliveries were taken, want %d and the one that runs", got, readyWindow)
	}
	b.do(event{kind: becameStored, destination: "a"})
	claims := 0
	for range readyWindow {
		for _, a := range b.do(event{kind: attemptEnded, destination: "a"}) {
			if a == "claim a 256" {
				claims++
				if room := b.queues["a"].room(); room < claimBatch {
					t.Errorf("claimed with room for %d", room)
				}
			}
		}
	}
	if claims != 1 {
		t.Errorf("%d claims for one hint, want 1 until it is answered", claims)
	}
}

func TestHandOverWaitsForOlderStoredDeliveries(t *testing.T) {
	b := newBench(destination("a", 1))
	b.do(event{kind: becameStored, destination: "a"})
	if b.reserve("a") {
		t.Error("a place was promised while the store was asked for older deliveries")
	}
	b.do(event{kind: claimEnded, destination: "a", claimed: store.Claimed{More: true}})
	if b.reserve("a") {
		t.Error("a place was promised while the store has more")
	}
	b.do(event{kind: claimEnded, destination: "a"})
	if !b.reserve("a") {
		t.Error("no place was promised although the store has nothing that is due")
	}
	if b.reserve("unknown") {
		t.Error("a place was promised for a destination that is not in force")
	}
}

func TestAFailedClaimIsTriedAgain(t *testing.T) {
	b := newBench(destination("a", 1))
	b.do(event{kind: becameStored, destination: "a"})
	got := b.do(event{kind: claimEnded, destination: "a", err: errors.New("busy")})
	if want := []string{"wake in 1s"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	b.now = b.now.Add(time.Second)
	if got = b.do(event{kind: timerFired}); !slices.Equal(got, []string{"claim a 256"}) {
		t.Errorf("got %q when the time had come", got)
	}
}

func TestTheSchedulerTakesQueuesInTheOrderOfTheirComing(t *testing.T) {
	var targets []*target
	var want []string
	for i := range 20 {
		id := fmt.Sprint(7 * i % 20)
		targets = append(targets, destination(id, 1))
		want = append(want, "claim "+id+" 256")
	}
	b := newBench(targets...)
	for _, target := range targets {
		b.do(event{kind: becameWaiting, destination: target.ID, at: b.now.Add(time.Second)})
	}
	b.now = b.now.Add(time.Second)
	if got := b.do(event{kind: timerFired}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A store whose clock is behind used to be asked over and over, as fast as it
// could answer.
func TestAStoreWhoseClockIsBehindIsNotAskedAllTheTime(t *testing.T) {
	b := newBench(destination("a", 1))
	b.do(event{kind: becameStored, destination: "a"})
	got := b.do(event{kind: claimEnded, destination: "a", claimed: store.Claimed{Next: b.now.Add(-time.Hour)}})
	if want := []string{"wake in 5ms"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheTimerFollowsTheEarliestDelivery(t *testing.T) {
	b := newBench(destination("a", 1), destination("b", 1))
	for _, tt := range []struct {
		id   string
		in   time.Duration
		want []string
	}{
		{"a", time.Minute, []string{"wake in 1m0s"}},
		{"b", time.Hour, nil},
		{"b", time.Second, []string{"wake in 1s"}},
	} {
		if got := b.do(event{kind: becameWaiting, destination: tt.id, at: b.now.Add(tt.in)}); !slices.Equal(got, tt.want) {
			t.Errorf("waiting %v: got %q, want %q", tt.in, got, tt.want)
		}
	}
	b.now = b.now.Add(time.Second)
	if got := b.do(event{kind: timerFired}); !slices.Equal(got, []string{"claim b 256", "wake in 59s"}) {
		t.Errorf("got %q when the timer fired", got)
	}
}

func TestTheEnginesSlotsGoRound(t *testing.T) {
	b := newBench(destination("a", maxRunning), destination("b", maxRunning), destination("c", maxRunning))
	b.fill("a", 500)
	b.fill("b", 500)
	b.fill("c", maxRunning-1000)
	for _, id := range []string{"a", "b", "c"} {
		b.fill(id, 3)
	}
	var turns []string
	for range 6 {
		for _, a := range b.do(event{kind: attemptEnded, destination: "a"}) {
			turns = append(turns, a[4:5])
		}
	}
	if want := []string{"a", "b", "c", "a", "b", "c"}; !slices.Equal(turns, want) {
		t.Errorf("the slots went to %q, want %q", turns, want)
	}
	if b.running != maxRunning {
		t.Errorf("%d attempts run, want %d", b.running, maxRunning)
	}
}

// A queue that waited for a slot and then lost its deliveries used to swallow the slot
// that it was given.
func TestASlotIsPassedOnByAQueueThatDoesNotNeedItAnyMore(t *testing.T) {
	one, two := destination("one", maxRunning), destination("two", maxRunning)
	gone, last := destination("gone", maxRunning), destination("last", maxRunning)
	b := newBench(one, two, gone, last)
	b.fill("one", slotsMost)
	b.fill("two", slotsMost)
	b.fill("gone", slotShare+1)
	b.fill("last", slotShare+1)
	b.configure(one, two, last)
	var got []string
	for range 2*slotShare + 1 {
		got = append(got, b.do(event{kind: attemptEnded, destination: "one"})...)
	}
	if len(got) != 1 || got[0][:8] != "try last" {
		t.Errorf("got %q, want an attempt for last", got)
	}
}

func TestDrainingStartsNothingAndGivesLeasesBack(t *testing.T) {
	b := newBench(destination("a", 1))
	b.fill("a", 3)
	if got := b.do(event{kind: drainBegan}); len(got) != 2 || got[0][:7] != "release" {
		t.Errorf("got %q, want two releases", got)
	}
	for _, ev := range []event{
		{kind: attemptEnded, destination: "a"},
		{kind: becameStored, destination: "a"},
		{kind: becameWaiting, destination: "a", at: b.now},
		{kind: timerFired},
	} {
		if got := b.do(ev); len(got) > 0 {
			t.Errorf("event %d: got %q while draining", ev.kind, got)
		}
	}
	if b.reserve("a") {
		t.Error("a place was promised while draining")
	}
	got := b.do(event{kind: claimEnded, destination: "a", claimed: store.Claimed{Deliveries: make([]store.Delivery, 2)}})
	if len(got) != 2 {
		t.Errorf("got %q for a claim that came too late, want two releases", got)
	}
}

func TestADestinationThatGoesGivesItsLeasesBackAndIsClaimedForWhenItReturns(t *testing.T) {
	a := destination("a", 1)
	b := newBench(a)
	b.fill("a", 3)
	if got := b.configure(); len(got) != 2 {
		t.Errorf("got %q, want two releases", got)
	}
	if b.reserve("a") {
		t.Error("a place was promised for a destination that has gone")
	}
	b.do(event{kind: attemptEnded, destination: "a"})
	if got := b.configure(a); !slices.Equal(got, []string{"claim a 256"}) {
		t.Errorf("got %q when it returned", got)
	}
}
