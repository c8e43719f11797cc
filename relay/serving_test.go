// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// loads gives a destination deliveries whose bodies must be read.
func (b *bench) loads(id string, n int, size int64) {
	var c store.Claimed
	for range n {
		c.Deliveries = append(c.Deliveries, store.Delivery{BodySize: size})
	}
	b.note(b.step(b.now, event{kind: claimEnded, destination: id, claimed: c}, nil))
}

// note remembers the attempts that were started.
func (b *bench) note(actions []action) {
	for _, a := range actions {
		if a.kind == startAttempt {
			b.under = append(b.under, a)
			b.bytes[a.target.ID] += a.leased.slot.loaded
		}
	}
}

func TestP11_MemoryIsSharedByBytesWhateverTheSizeOfBodies(t *testing.T) {
	b := newBench(destination("large", 64), destination("small", 64), destination("medium", 64))
	b.bytes = make(map[string]int64)
	b.do(event{kind: configured, targets: []*target{destination("large", 512), destination("small", 512), destination("medium", 512)}, memory: 16 << 20})
	sizes := map[string]int64{"large": 3 << 20, "medium": 500_000, "small": 20_000}
	refill := func() {
		for _, id := range []string{"large", "small", "medium"} {
			if n := b.queues[id].room(); n > claimBatch {
				b.loads(id, n, sizes[id])
			}
		}
	}
	refill()
	clear(b.bytes)
	for range 100_000 {
		// The oldest attempt ends.
		first := b.under[0]
		b.under = b.under[1:]
		b.note(b.step(b.now, event{kind: attemptEnded, destination: first.target.ID, slot: first.leased.slot, found: up}, nil))
		refill()
		if b.loading > 16<<20+3<<20 {
			t.Fatalf("%d bytes are taken", b.loading)
		}
	}
	total := b.bytes["large"] + b.bytes["small"] + b.bytes["medium"]
	for id, n := range b.bytes {
		if part := float64(n) / float64(total); part < 0.25 || part > 0.42 {
			t.Errorf("%s got %.2f of the memory", id, part)
		}
	}
}

func TestMemoryThatBecomesFreeIsNotLostOnWhoCanNotUseIt(t *testing.T) {
	a, c, gone, last := destination("a", 64), destination("c", 64), destination("gone", 64), destination("last", 64)
	b := newBench(a, c, gone, last)
	b.bytes = make(map[string]int64)
	b.do(event{kind: configured, targets: []*target{a, c, gone, last}, memory: 100})
	b.loads("a", 4, 10)
	b.loads("c", 4, 10)
	b.loads("gone", 10, 20)
	b.loads("last", 10, 10)
	if len(b.forMemory) != 2 {
		t.Fatalf("%d queues are in line", len(b.forMemory))
	}
	b.do(event{kind: paused, destination: "gone"})
	before := b.bytes["last"]
	for range 3 {
		b.note(b.step(b.now, event{kind: attemptEnded, destination: "a", slot: slot{loaded: 10}}, nil))
	}
	if b.bytes["last"] == before {
		t.Error("the last one in line got nothing of what the paused one did not take")
	}
}

// TestT13_AHungDestinationCostsTheOthersNothing is the deterministic part of it:
// between two attempts of a healthy destination the scheduler does the same
// whether another one hangs or not.
func TestT13_AHungDestinationCostsTheOthersNothing(t *testing.T) {
	const healthy, rounds = 99, 200
	run := func(hangs bool) (attempts, claims int) {
		var targets []*target
		for i := range healthy {
			targets = append(targets, destination(string(rune('A'+i)), 8))
		}
		targets = append(targets, destination("hung", 64))
		b := newBench(targets...)
		if hangs {
			b.do(event{kind: becameStored, destination: "hung"})
			for range 4 {
				var c store.Claimed
				for range claimBatch {
					c.Deliveries = append(c.Deliveries, store.Delivery{BodySize: 1000})
				}
				c.More = true
				b.step(b.now, event{kind: claimEnded, destination: "hung", claimed: c}, nil)
			}
		}
		hungBefore := b.queues["hung"].running
		for range rounds {
			for _, target := range targets[:healthy] {
				for len(b.queues[target.ID].fresh.list)-b.queues[target.ID].fresh.head < 8 {
					b.fill(target.ID, 8)
				}
				for _, a := range b.step(b.now, event{kind: attemptEnded, destination: target.ID, found: up}, nil) {
					switch {
					case a.kind == startAttempt && a.target == target:
						attempts++
					case a.kind == startClaim:
						claims++
					}
				}
			}
			b.now = b.now.Add(time.Millisecond)
		}
		if hangs && b.queues["hung"].running != hungBefore {
			t.Errorf("the one that hangs has %d slots, had %d", b.queues["hung"].running, hungBefore)
		}
		return attempts, claims
	}
	attempts, claims := run(false)
	hungAttempts, hungClaims := run(true)
	if attempts != healthy*rounds || hungAttempts != attempts {
		t.Errorf("%d attempts of the healthy ones beside one that hangs, %d without", hungAttempts, attempts)
	}
	if hungClaims != claims {
		t.Errorf("%d claims beside one that hangs, %d without", hungClaims, claims)
	}
}
