// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"testing"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// ends takes in so many attempts that were begun in the present round.
func (p *pace) ends(n int, found condition) {
	round := p.round
	for range n {
		p.told(round, found)
	}
}

func newPace(most int) *pace {
	p := new(pace)
	p.set(most)
	return p
}

func TestADestinationBeginsWithAllItsSlotsAndKeepsThemWhileFewAttemptsFail(t *testing.T) {
	for _, most := range []int{1, 2, 16, 64, 512} {
		p := newPace(most)
		if p.limit != most {
			t.Errorf("begins with %d of %d", p.limit, most)
		}
		for i := range 100_000 {
			found := up
			if i%20 == 0 {
				found = down
			}
			p.told(p.round, found)
			if p.limit != most {
				t.Fatalf("%d of %d slots after %d attempts of which one in 20 failed", p.limit, most, i)
			}
		}
	}
}

func TestAnOverloadedDestinationGetsHalfAndGrowsBack(t *testing.T) {
	p := newPace(64)
	p.ends(64, busy)
	if p.limit != 32 {
		t.Errorf("%d slots after one round of overload, want half of 64 once", p.limit)
	}
	p.told(p.round-1, busy) // was begun before
	if p.bad != 0 {
		t.Error("an attempt of the round before was counted")
	}
	p.ends(32, up)
	if p.limit != 33 {
		t.Errorf("%d slots after 32 answered attempts, want one more", p.limit)
	}
	for range 20 {
		p.ends(64, busy)
	}
	if p.limit != 1 {
		t.Errorf("%d slots after much overload, want 1", p.limit)
	}
	p.ends(3000, up)
	if p.limit != 64 {
		t.Errorf("%d slots after 3000 answered attempts, want all", p.limit)
	}
}

func TestADestinationThatIsBackHasAllItsSlotsSoon(t *testing.T) {
	p := newPace(64)
	p.ends(64, busy)
	p.back()
	if p.limit != paceBack {
		t.Errorf("%d slots at first, want %d", p.limit, paceBack)
	}
	p.ends(64-paceBack, up)
	if p.limit != 64 {
		t.Errorf("%d slots after that many answered attempts, want all", p.limit)
	}
	if p = newPace(2); p.limit != 2 {
		t.Errorf("%d slots of 2", p.limit)
	}
	p.back()
	if p.limit != 2 {
		t.Errorf("%d slots of 2 at a destination that is back", p.limit)
	}
}

func TestTheBoundOnAPaceChanges(t *testing.T) {
	p := newPace(64)
	p.set(100)
	if p.limit != 100 {
		t.Errorf("%d slots after the bound was raised, want all", p.limit)
	}
	p.ends(100, busy)
	p.set(200)
	if p.limit != 50 {
		t.Errorf("%d slots of an overloaded destination after the bound was raised", p.limit)
	}
	p.set(10)
	if p.limit != 10 {
		t.Errorf("%d slots after the bound was lowered to 10", p.limit)
	}
}

func TestOverloadLowersTheSlotsOfItsDestinationAlone(t *testing.T) {
	b := newBench(destination("a", 64), destination("b", 64))
	b.fill("a", 500)
	b.fill("b", 500)
	// Answers in between keep the breaker closed.
	for i := range 64 {
		found := busy
		if i%4 == 0 {
			found = up
		}
		b.do(event{kind: attemptEnded, destination: "a", found: found})
		b.do(event{kind: attemptEnded, destination: "b", found: up})
	}
	if q := b.queues["a"]; q.pace.limit != 32 || q.running != 32 {
		t.Errorf("a has %d slots and uses %d, want 32", q.pace.limit, q.running)
	}
	if q := b.queues["b"]; q.pace.limit != 64 || q.running != 64 {
		t.Errorf("b has %d slots and uses %d, want all", q.pace.limit, q.running)
	}
}

func TestRetriesGetHalfOfTheSlotsThatAreLeft(t *testing.T) {
	b := newBench(destination("a", 64))
	b.fill("a", 64)
	for range 64 {
		b.do(event{kind: attemptEnded, destination: "a", found: busy})
	}
	var c store.Claimed
	for range 100 {
		c.Deliveries = append(c.Deliveries, store.Delivery{Tries: 1, BodySize: 1})
	}
	if got := b.do(event{kind: claimEnded, destination: "a", claimed: c}); len(got) != 16 {
		t.Errorf("%d retries at once with %d slots left, want 16", len(got), b.queues["a"].pace.limit)
	}
}

func TestADestinationThatIsBackBeginsWithFewAttempts(t *testing.T) {
	b := newBench(destination("a", 64))
	b.fill("a", 300)
	for b.queues["a"].running > 0 {
		b.do(event{kind: attemptEnded, destination: "a", found: down})
	}
	b.now = b.now.Add(probeEvery)
	b.do(event{kind: timerFired})
	if got := b.queues["a"].running; got != 1 {
		t.Fatalf("%d attempts probe", got)
	}
	probe := slot{probe: true}
	if b.do(event{kind: attemptEnded, destination: "a", slot: probe, found: up}); b.queues["a"].running != paceBack {
		t.Errorf("%d attempts run after the probe has succeeded, want %d", b.queues["a"].running, paceBack)
	}
}
