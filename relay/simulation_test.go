// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"container/heap"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

// simulatedBody is the size of the largest body.
const simulatedBody = 256

// simulation runs a scheduler against a memory store, with arrivals, attempts,
// claims and commits that take their time in an order that the seed decides.
type simulation struct {
	t         *testing.T
	random    *rand.Rand
	scheduler *scheduler
	store     *memory.Store
	now       time.Time
	due       happenings
	sequence  int

	names   []string
	slots   map[string]int // of the destinations in force
	memory  int64
	loading int64
	running map[string]int
	total   int
	most    int // the largest total seen

	hastening map[string]bool
	down      []string // when everything began to work
	rescued   int

	held     map[store.Lease]string // what became of every lease
	timer    int                    // the timer that counts, others were replaced
	failing  bool
	draining bool
	log      io.Writer
	logSum   func() uint64
	arrived  int
}

// happening is something that will happen.
type happening struct {
	at       time.Time
	sequence int
	do       func()
}

type happenings []happening

func (h happenings) Len() int      { return len(h) }
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h happenings) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].sequence < h[j].sequence
}
func (h *happenings) Push(x any) { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	sum := fnv.New64a()
	s := &simulation{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), scheduler: newScheduler(),
		now: time.Unix(1_700_000_000, 0), memory: 1 << 30, running: make(map[string]int), slots: make(map[string]int), hastening: make(map[string]bool),
		held: make(map[store.Lease]string), failing: true, log: sum, logSum: sum.Sum64,
	}
	if seed%2 == 1 {
		s.memory = 16 * simulatedBody
	}
	s.store = memory.New(memory.Options{Now: func() time.Time { return s.now }})
	for i := range 1 + s.random.IntN(6) {
		s.names = append(s.names, fmt.Sprintf("d%d", i))
	}
	return s
}

// after has something happen up to longest from now.
func (s *simulation) after(longest time.Duration, do func()) {
	s.at(s.now.Add(time.Duration(s.random.Int64N(int64(longest)))), do)
}

func (s *simulation) at(at time.Time, do func()) {
	s.sequence++
	heap.Push(&s.due, happening{at: at, sequence: s.sequence, do: do})
}

// run lets things happen until nothing is left, or the time is over.
func (s *simulation) run(until time.Time) {
	for len(s.due) > 0 && !s.due[0].at.After(until) {
		next := heap.Pop(&s.due).(happening)
		if next.at.After(s.now) {
			s.now = next.at
		}
		next.do()
	}
}

// post takes one step, checks it and sets off its actions.
func (s *simulation) post(ev event) {
	actions := s.scheduler.step(s.now, ev, nil)
	if ev.kind == attemptEnded {
		s.running[ev.destination]--
		s.total--
		s.loading -= ev.slot.loaded
	}
	for _, a := range actions {
		fmt.Fprintln(s.log, s.now.UnixNano(), a.text(s.now))
		switch a.kind {
		case startAttempt:
			s.start(a)
		case startClaim:
			s.claim(a)
		case startHasten:
			s.hasten(a)
		case releaseJob:
			s.take(a.job, "released")
			s.finish(store.Finish{Lease: a.job.delivery.Lease(), State: store.Pending})
		case setTimer:
			s.timer++
			timer := s.timer
			s.at(a.at, func() {
				if timer == s.timer {
					s.post(event{kind: timerFired})
				}
			})
		}
	}
	s.check()
}

// check looks at what must hold after every step.
func (s *simulation) check() {
	for id, q := range s.scheduler.queues {
		if n := q.waiting() + q.reserved; n > readyWindow || q.reserved < 0 {
			s.t.Fatalf("%s has %d ready and %d reserved places", id, q.waiting(), q.reserved)
		}
		if q.running != s.running[id] {
			s.t.Fatalf("%s counts %d attempts, %d run", id, q.running, s.running[id])
		}
	}
	if s.total > maxRunning+slotShare*len(s.names) || s.scheduler.running != s.total {
		s.t.Fatalf("%d attempts run, %d counted", s.total, s.scheduler.running)
	}
	if s.scheduler.loading != s.loading || s.loading > s.memory+int64(len(s.names))*simulatedBody {
		s.t.Fatalf("%d bytes are loaded, %d counted", s.loading, s.scheduler.loading)
	}
	s.most = max(s.most, s.total)
}

// checkRescued looks at the destinations that were down when everything began to
// work: by now they are back, and nothing waits there for its time.
func (s *simulation) checkRescued() {
	for _, id := range s.down {
		waiting, err := s.store.ListDeliveries(s.t.Context(), store.DeliveryQuery{Destination: id, State: store.Waiting, Limit: 10_000})
		if err != nil {
			s.t.Fatal(err)
		}
		q := s.scheduler.queues[id]
		if open := q.waiting()+q.running+len(waiting) > 0; open && q.breaker.open {
			s.t.Errorf("%s is not found to be back, %d deliveries wait", id, len(waiting))
		}
		for i := range waiting {
			if waiting[i].DueAt.After(s.now) {
				s.t.Fatalf("%s is back, and of %d deliveries one waits until %v after that", id, len(waiting), waiting[i].DueAt.Sub(s.now))
			}
		}
		s.rescued++
	}
}

// take notes that a job has left the scheduler, which happens once.
func (s *simulation) take(j *job, as string) {
	lease := j.delivery.Lease()
	if before := s.held[lease]; before != "" {
		s.t.Fatalf("%s/%d is %s after it was %s", lease.Delivery, lease.Epoch, as, before)
	}
	s.held[lease] = as
}

func (s *simulation) start(a action) {
	id := a.target.ID
	s.take(a.job, "tried")
	if a.job.slot.probe != s.scheduler.queues[id].breaker.open {
		s.t.Fatalf("%s: probe %v while the breaker is open %v", id, a.job.slot.probe, !a.job.slot.probe)
	}
	s.running[id]++
	s.total++
	s.loading += a.job.slot.loaded
	if slots, ok := s.slots[id]; !ok || s.running[id] > slots || s.draining {
		s.t.Fatalf("%s runs %d attempts, may run %d, draining %v", id, s.running[id], slots, s.draining)
	}
	s.after(time.Minute, func() {
		f := store.Finish{Lease: a.job.delivery.Lease(), State: store.Delivered}
		if s.failing && s.random.IntN(3) == 0 {
			f.State, f.Delay = store.Waiting, time.Duration(s.random.Int64N(int64(20*time.Hour)))
			if s.random.IntN(8) == 0 {
				f.State = store.Pending
			}
		}
		s.finish(f)
		found := up
		if s.failing {
			found = condition(s.random.IntN(3))
			if s.random.IntN(3) > 0 {
				found = down
			}
		}
		s.post(event{kind: attemptEnded, destination: id, slot: a.job.slot, found: found})
	})
}

// finish commits an outcome a little later, as the finisher does.
func (s *simulation) finish(f store.Finish) {
	s.after(20*time.Millisecond, func() {
		finished, err := s.store.Finish(s.t.Context(), []store.Finish{f})
		if err != nil || finished[0].Err != nil {
			s.t.Fatalf("finishing %v: %v, %v", f.Lease, err, finished)
		}
		switch d := finished[0].Delivery; d.State {
		case store.Waiting:
			s.post(event{kind: becameWaiting, destination: d.Destination, at: d.DueAt})
		case store.Pending:
			s.post(event{kind: becameStored, destination: d.Destination})
		}
	})
}

// hasten makes waiting deliveries due, as the dispatcher does.
func (s *simulation) hasten(a action) {
	id := a.target.ID
	if s.hastening[id] || s.draining {
		s.t.Fatalf("%s: made due twice at once, draining %v", id, s.draining)
	}
	s.hastening[id] = true
	s.after(100*time.Millisecond, func() {
		ended := event{kind: hastenEnded, destination: id}
		if s.failing && s.random.IntN(5) == 0 {
			ended.err = errors.New("busy")
		} else {
			for n := hastenBatch; n == hastenBatch; ended.count += n {
				var err error
				if n, err = s.store.Hasten(s.t.Context(), id, a.limit); err != nil {
					s.t.Fatal(err)
				}
			}
		}
		// The answer takes its time too, while other things happen.
		s.after(10*time.Millisecond, func() {
			s.hastening[id] = false
			s.post(ended)
		})
	})
}

func (s *simulation) claim(a action) {
	if s.draining {
		s.t.Fatal("claimed while draining")
	}
	id := a.target.ID
	s.after(100*time.Millisecond, func() {
		if s.failing && s.random.IntN(5) == 0 {
			s.post(event{kind: claimEnded, destination: id, err: errors.New("busy")})
			return
		}
		claimed, err := s.store.Claim(s.t.Context(), store.ClaimRequest{Destination: id, Limit: a.limit, Lease: leaseForever})
		if err != nil {
			s.t.Fatal(err)
		}
		s.after(100*time.Millisecond, func() { s.post(event{kind: claimEnded, destination: id, claimed: claimed}) })
	})
}

// arrive accepts a message for some of the destinations.
func (s *simulation) arrive() {
	s.arrived++
	m := &store.Message{ID: store.MessageID{0: 1, 12: byte(s.arrived >> 16), 13: byte(s.arrived >> 8), 14: byte(s.arrived)}}
	m.Request.Body = make([]byte, 1+s.random.IntN(simulatedBody))
	a := store.Acceptance{Message: m}
	for _, name := range s.names {
		if s.random.IntN(len(s.names)) > 0 {
			continue
		}
		d := store.NewDelivery{Destination: name}
		if s.scheduler.reserve(name) {
			d.Lease = leaseForever
		}
		a.Deliveries = append(a.Deliveries, d)
	}
	s.check()
	lost := s.failing && s.random.IntN(10) == 0
	s.after(10*time.Millisecond, func() {
		if lost {
			for _, d := range a.Deliveries {
				if d.Lease > 0 {
					s.post(event{kind: unreserved, destination: d.Destination})
				}
			}
			return
		}
		accepted, err := s.store.Accept(s.t.Context(), []store.Acceptance{a})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, d := range accepted[0].Deliveries {
			if d.State == store.Leased {
				s.post(event{kind: handedOver, destination: d.Destination, job: &job{delivery: d}})
			} else {
				s.post(event{kind: becameStored, destination: d.Destination})
			}
		}
	})
}

// configure puts some of the destinations in force, or all.
func (s *simulation) configure(all bool) {
	var targets []*target
	clear(s.slots)
	for _, name := range s.names {
		if all || s.random.IntN(3) > 0 {
			slots := 1 + s.random.IntN(8)
			if s.random.IntN(2) == 0 {
				slots = 2000
			}
			s.slots[name] = slots
			targets = append(targets, destination(name, slots))
		}
	}
	s.post(event{kind: configured, targets: targets, memory: s.memory})
}

// live runs a simulated day and returns the sum of all that was decided in it.
func (s *simulation) live(drains bool) uint64 {
	s.configure(false)
	start := s.now
	for range 3 + s.random.IntN(4) {
		burst := s.random.IntN(300)
		if s.random.IntN(4) == 0 {
			burst = 6000
		}
		at := start.Add(time.Duration(s.random.Int64N(int64(2 * time.Hour))))
		for range burst {
			s.at(at.Add(time.Duration(s.random.Int64N(int64(time.Minute)))), s.arrive)
		}
	}
	for range s.random.IntN(8) {
		s.at(start.Add(time.Duration(s.random.Int64N(int64(3*time.Hour)))), func() { s.configure(false) })
	}
	s.run(start.Add(time.Duration(s.random.Int64N(int64(3 * time.Hour)))))
	if drains {
		s.draining = true
		s.post(event{kind: drainBegan})
	} else {
		s.at(start.Add(4*time.Hour), func() {
			for id, q := range s.scheduler.queues {
				if q.breaker.open {
					s.down = append(s.down, id)
				}
			}
			s.failing = false
			s.configure(true)
			s.at(start.Add(4*time.Hour+5*time.Minute), s.checkRescued)
		})
	}
	s.run(start.Add(240 * time.Hour))
	// What is left can only be a timer for the end of leases that have no end.
	for _, h := range s.due {
		if h.at.Before(s.now.Add(leaseForever / 2)) {
			s.t.Fatalf("something still happens at %v, ten days after it all", h.at)
		}
	}
	return s.logSum()
}

func TestSimulatedSchedulerKeepsItsBoundsAndForgetsNothing(t *testing.T) {
	seeds := 16
	if testing.Short() {
		seeds = 4
	}
	full, rescued := false, 0
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			s := newSimulation(t, uint64(seed))
			s.live(false)
			open := 0
			for _, state := range []store.State{store.Pending, store.Leased, store.Waiting} {
				list, err := s.store.ListDeliveries(t.Context(), store.DeliveryQuery{State: state, Limit: 10})
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range list {
					t.Errorf("%s to %s is still %s", d.ID, d.Destination, d.State)
				}
				open += len(list)
			}
			if open == 0 && s.scheduler.running > 0 {
				t.Errorf("%d attempts are counted when all is done", s.scheduler.running)
			}
			full = full || s.most >= maxRunning
			rescued += s.rescued
		})
	}
	if rescued == 0 {
		t.Error("no destination was down when everything began to work, so its return was not tested")
	}
	if !full && !testing.Short() {
		t.Error("no run has reached the bound on all attempts, so it was not tested")
	}
}

func TestSimulatedSchedulerDrains(t *testing.T) {
	for seed := range 6 {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			s := newSimulation(t, uint64(1000+seed))
			s.live(true)
			list, err := s.store.ListDeliveries(t.Context(), store.DeliveryQuery{State: store.Leased, Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range list {
				t.Errorf("%s to %s is still leased after the drain", d.ID, d.Destination)
			}
		})
	}
}

func TestSimulatedSchedulerRepeatsExactly(t *testing.T) {
	for seed := range 3 {
		one := newSimulation(t, uint64(seed)).live(false)
		if two := newSimulation(t, uint64(seed)).live(false); one != two {
			t.Errorf("seed %d decided %x and then %x", seed, one, two)
		}
	}
}
