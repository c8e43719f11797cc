// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// course is what became of one message of a lane, in steps that are counted over
// all of them; 0 stands for never.
type course struct {
	lane           string
	arrived, acked int
	first, last    int // when its first attempt began, and its last one ended
	running        bool
	canceled       bool
}

// witness sees what a sender and an upstream see, and checks P6 on it. The body of
// a message begins with the name of its lane.
type witness struct {
	mu      sync.Mutex
	steps   int
	courses map[string]*course
	wrong   []string
}

func (w *witness) on(body string, f func(c *course, step int)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps++
	c := w.courses[body]
	if c == nil {
		lane, _, _ := strings.Cut(body, " ")
		c = &course{lane: lane, arrived: w.steps}
		w.courses[body] = c
	}
	f(c, w.steps)
}

// begin notes that an attempt begins.
func (w *witness) begin(body string) {
	w.on(body, func(c *course, step int) {
		if c.first == 0 {
			c.first = step
		}
		for other, o := range w.courses {
			if o.lane == c.lane && o.running {
				w.wrong = append(w.wrong, fmt.Sprintf("%s is tried while %s is", body, other))
			}
		}
		c.running = true
	})
}

// end notes that it has ended.
func (w *witness) end(body string) {
	w.on(body, func(c *course, step int) { c.last, c.running = step, false })
}

// judge looks at every two messages of a lane of which one was answered before
// the other arrived.
func (w *witness) judge() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a, before := range w.courses {
		for b, c := range w.courses {
			if before.lane != c.lane || before.acked == 0 || before.acked > c.arrived || c.first == 0 || before.canceled && before.first == 0 {
				continue
			}
			if before.first == 0 || before.last > c.first {
				w.wrong = append(w.wrong, fmt.Sprintf("%s was tried at %d, and %s before it in %d to %d", b, c.first, a, before.first, before.last))
			}
		}
	}
	return w.wrong
}

// campaign is an engine to which all happens that may.
type campaign struct {
	*rig
	*witness
	random  *rand.Rand
	disk    disk
	calm    atomic.Bool
	senders sync.WaitGroup
}

func newCampaign(r *rig, seed uint64) *campaign {
	c := &campaign{rig: r, witness: &witness{courses: make(map[string]*course)}, random: rand.New(rand.NewPCG(seed, 6))}
	c.disk.under(r.store)
	c.upstream.set(c.answer)
	r.beforeOpen.set(func(int) error {
		c.disk.set(false)
		c.forgetLeases()
		return nil
	})
	return c
}

// chance draws with the campaign's random numbers, whose order the bubble's
// scheduler decides as well: a seed does not repeat a campaign to the letter.
func (c *campaign) chance(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(n)
}

func (c *campaign) between(shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(c.chance(int(longest-shortest)))
}

// answer takes its time and often fails. What has left its lane is not watched.
func (c *campaign) answer(ctx context.Context, a Attempt) Result {
	body := string(a.Message.Request.Body)
	if a.Delivery.Generation == 0 || a.Delivery.Place != 0 {
		c.begin(body)
		defer c.end(body)
	}
	select {
	case <-time.After(c.between(0, 300*time.Millisecond)):
	case <-ctx.Done():
		return hangs(ctx, a)
	}
	fate := c.chance(20)
	switch {
	case c.calm.Load() || fate > 6:
		return succeeds(ctx, a)
	case fate > 3:
		return Result{Outcome: store.Refused, Status: http.StatusInternalServerError}
	case fate > 1:
		return Result{Outcome: store.Unreachable}
	default:
		return hangs(ctx, a)
	}
}

// send sends messages one after the other, each until it is taken.
func (c *campaign) send(sender, messages int) {
	for i := range messages {
		time.Sleep(c.between(0, 400*time.Millisecond))
		key := fmt.Sprint("lane", c.chance(5))
		body := fmt.Sprintf("%s %d/%d", key, sender, i)
		c.on(body, func(*course, int) {})
		for {
			in := c.inbound(body)
			if key != "lane0" || i%2 == 0 {
				in.Targets[0].OrderKey = key
			} else {
				c.on(body, func(k *course, _ int) { k.lane = body }) // unordered
			}
			if _, err := c.Accept(context.Background(), in); err == nil {
				c.on(body, func(k *course, step int) { k.acked = step })
				break
			}
			time.Sleep(time.Second)
		}
	}
}

// meddle does one of the things that an operator, or a machine, may do.
func (c *campaign) meddle() {
	switch c.chance(8) {
	case 0:
		c.disk.set(true)
		_, _ = c.Accept(context.Background(), c.inbound(fmt.Sprint("lost", c.chance(1<<30)), "nowhere"))
	case 1, 2, 3:
		c.reload(c.chance(2) == 0)
	case 4:
		c.Detach(c.generation)
		time.Sleep(c.between(0, 2*time.Second))
		c.Attach(c.generation)
	default:
		c.operate()
	}
}

func (c *campaign) reload(hold bool) {
	old := c.generation
	c.generation = c.to(Destination{
		ID: "d", Deliverer: c.upstream, MaxInFlight: 1 + c.chance(16), Timeout: c.between(time.Second, 3*time.Second), Hold: hold,
		Retry: retry.Rule{Policy: retry.Fixed{Every: c.between(time.Second, 4*time.Second)}, Attempts: 1 + c.chance(4)},
	})
	c.generation.Retention, c.generation.RetentionDead = 0, 0
	c.Attach(c.generation)
	c.Detach(old)
}

// operate cancels something that is open, and re-drives what is dead.
func (c *campaign) operate() {
	ctx := context.Background()
	if open, _ := c.store.ListDeliveries(ctx, store.DeliveryQuery{Destination: "d", State: store.State(1 + c.chance(3)), Limit: 5}); len(open) > 0 {
		d := open[c.chance(len(open))]
		if m, err := c.store.Message(ctx, d.ID.Message); err == nil {
			c.on(string(m.Request.Body), func(k *course, _ int) { k.canceled = true })
			_, _ = c.store.Cancel(ctx, d.ID)
		}
	}
	dead, _ := c.store.ListDeliveries(ctx, store.DeliveryQuery{Destination: "d", State: store.Dead, Limit: 1000})
	for i := range dead {
		if dead[i].Holds() || c.chance(4) == 0 {
			_, _ = c.store.Redrive(ctx, dead[i].ID)
		}
	}
	c.current.Load().dispatcher.post(event{kind: becameStored, destination: "d"})
}

// forgetLeases does to leases what the end of a process does.
func (c *campaign) forgetLeases() {
	ctx := context.Background()
	leased, err := c.store.Store.ListDeliveries(ctx, store.DeliveryQuery{State: store.Leased, Limit: 1 << 20})
	if err != nil {
		c.t.Error(err)
	}
	var back []store.Finish
	for i := range leased {
		back = append(back, store.Finish{Lease: leased[i].Lease(), State: store.Pending})
	}
	if _, err := c.store.Store.Finish(ctx, back); err != nil {
		c.t.Error(err)
	}
}

// run lets all of it happen, then has everything come to its end.
func (c *campaign) run() {
	c.reload(false)
	for sender := range 6 {
		c.senders.Go(func() { c.send(sender, 25) })
	}
	for range 15 {
		time.Sleep(c.between(0, 2*time.Second))
		c.meddle()
	}
	c.senders.Wait()
	c.calm.Store(true)
	c.reload(false)
	for range 5 { // what dies again does not hold any more
		c.operateDead()
		settle(20 * time.Minute)
	}
}

func (c *campaign) operateDead() {
	dead, _ := c.store.ListDeliveries(context.Background(), store.DeliveryQuery{State: store.Dead, Limit: 1 << 20})
	for i := range dead {
		if dead[i].Holds() {
			_, _ = c.store.Redrive(context.Background(), dead[i].ID)
		}
	}
	c.current.Load().dispatcher.post(event{kind: becameStored, destination: "d"})
}

func TestP6_OrderIsKeptWhateverHappens(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 8
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCampaign(newRig(t, nil), uint64(seed))
				c.run()
				for _, wrong := range c.judge() {
					t.Error(wrong)
				}
				if books, err := c.Books(t.Context()); err != nil || books["d"].Open != 0 || books["d"].Made != 150 {
					t.Errorf("books are %+v, %v", books["d"], err)
				}
				c.close()
			})
		})
	}
}

// TestP6_ACampaignWithoutLanesIsFound takes the lanes away: a checker that sees
// nothing then would prove nothing.
func TestP6_ACampaignWithoutLanesIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCampaign(newRig(t, nil), 1)
		c.store.accept.set(func(batch []store.Acceptance) error {
			for i := range batch {
				for j := range batch[i].Deliveries {
					batch[i].Deliveries[j].OrderKey = ""
				}
			}
			return c.disk.err()
		})
		c.run()
		var overlaps, overtakes int
		for _, wrong := range c.judge() {
			if strings.Contains(wrong, "is tried while") {
				overlaps++
			} else {
				overtakes++
			}
		}
		if overlaps == 0 || overtakes == 0 {
			t.Errorf("found %d overlaps and %d that were overtaken", overlaps, overtakes)
		}
		c.close()
	})
}
