// SPDX-License-Identifier: Apache-2.0

package pebble_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

var (
	crashSeeds = flag.Int("crash.seeds", 250, "number of power cuts to try")
	crashSeed  = flag.Uint64("crash.seed", 0, "try only this power cut, which is not 0")
)

// ledger is what was promised before the power went.
type ledger struct {
	mu       sync.Mutex
	cut      bool
	accepted map[store.MessageID]store.Acceptance
	finished map[store.DeliveryID]store.State
	deleted  map[store.MessageID]bool // asked for, whether or not it was answered
	keys     map[store.DedupeKey]store.Sighting
	purging  bool
}

// note writes into the ledger what was answered while there was power.
func (l *ledger) note(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut {
		f()
	}
}

// TestT2_PowerCut works on a store from several goroutines, cuts the power at a
// random moment with some part of what was not synced lost, and looks at what is
// left.
func TestT2_PowerCut(t *testing.T) {
	t.Parallel()
	if *crashSeed != 0 {
		powerCut(t, *crashSeed)
		return
	}
	for seed := range uint64(*crashSeeds) {
		t.Run(fmt.Sprint(seed+1), func(t *testing.T) {
			t.Parallel()
			powerCut(t, seed+1)
		})
	}
}

func powerCut(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	fs := vfs.NewCrashableMem()
	size := 1 + r.Uint64N(20)
	opts := pebble.Options{FS: fs, MemTableSize: 64 << 10}.WithCohorts(size, size*(1+r.Uint64N(20)))
	l := &ledger{
		accepted: make(map[store.MessageID]store.Acceptance),
		finished: make(map[store.DeliveryID]store.State),
		deleted:  make(map[store.MessageID]bool),
		keys:     make(map[store.DedupeKey]store.Sighting),
	}
	for range 1 + r.IntN(3) { // the power may go more than once
		s := open(t, "store", opts)
		l.check(t, s)
		crashed := l.workUntilCut(t, s, fs, r)
		within(t, "closing", func() { _ = s.Close() })
		fs = crashed
		opts.FS = fs
		l.cut = false
	}
	s := open(t, "store", opts)
	l.check(t, s)
	l.repeat(t, s)
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// workUntilCut returns the file system as the power cut has left it.
func (l *ledger) workUntilCut(t *testing.T, s store.Store, fs *vfs.MemFS, r *rand.Rand) *vfs.MemFS {
	var wg sync.WaitGroup
	steps := make(chan struct{})
	for range 6 {
		w := &worker{t: t, s: s, l: l, r: rand.New(rand.NewPCG(r.Uint64(), 1))}
		wg.Go(func() {
			for range steps {
				w.step()
			}
		})
	}
	for range r.IntN(150) {
		steps <- struct{}{}
	}
	percent := r.IntN(5) * 25
	var crashed *vfs.MemFS
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		l.mu.Lock() // what is noted before is in the clone
		defer l.mu.Unlock()
		crashed = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: r})
		l.cut = true
	}()
	for range 6 { // others work on while it goes
		steps <- struct{}{}
	}
	<-cut
	close(steps)
	wg.Wait()
	return crashed
}

// worker does random things.
type worker struct {
	t *testing.T
	s store.Store
	l *ledger
	r *rand.Rand
}

func (w *worker) step() {
	switch n := w.r.IntN(24); {
	case n >= 20:
		w.remember()
	case n < 9:
		w.accept()
	case n < 17:
		w.finish()
	case n < 18:
		w.delete()
	case n < 19:
		w.operate()
	default:
		w.purge()
	}
}

func (w *worker) accept() {
	batch := make([]store.Acceptance, 1+w.r.IntN(4))
	for i := range batch {
		batch[i] = message(w.r.IntN(crashEvents))
		batch[i].Message.Source = fmt.Sprint("source ", w.r.IntN(3))
		if w.r.IntN(8) == 0 { // ids come in another order than messages
			id := ulid.ULID(batch[i].Message.ID)
			_ = id.SetTime(id.Time() - w.r.Uint64N(100))
			batch[i].Message.ID = store.MessageID(id)
		}
		if w.r.IntN(3) == 0 { // so that there are flushes, and bodies outside of the tables
			noise(&batch[i], w.r.IntN(8<<10))
		}
		batch[i].Deliveries = nil
		for n := range w.r.IntN(4) {
			d := store.NewDelivery{Destination: fmt.Sprint(n)}
			if w.r.IntN(2) == 0 {
				d.Lease = time.Minute
			}
			if w.r.IntN(2) == 0 {
				d.OrderKey = fmt.Sprint("key ", w.r.IntN(3))
			}
			batch[i].Deliveries = append(batch[i].Deliveries, d)
		}
	}
	answers, err := w.s.Accept(w.t.Context(), batch)
	if err != nil {
		w.t.Errorf("Accept: %v", err)
		return
	}
	w.l.note(func() {
		for i, a := range answers {
			if a.Verdict == store.Fresh {
				w.l.accepted[a.Message] = batch[i]
			} else if _, ok := w.l.accepted[a.Message]; !ok && !w.l.deleted[a.Message] {
				w.l.accepted[a.Message] = store.Acceptance{} // a duplicate of one whose answer is still to come
			}
			for _, d := range a.Deliveries {
				delete(w.l.finished, d.ID)
			}
		}
	})
}

func (w *worker) finish() {
	c, err := w.s.Claim(w.t.Context(), store.ClaimRequest{Destination: fmt.Sprint(w.r.IntN(2)), Limit: 1 + w.r.IntN(3), Lease: time.Minute})
	if err != nil {
		w.t.Errorf("Claim: %v", err)
	}
	var batch []store.Finish
	for _, d := range c.Deliveries {
		states := []store.State{store.Delivered, store.Delivered, store.Canceled, store.Waiting, store.Pending, store.Dead}
		batch = append(batch, store.Finish{
			Lease: d.Lease(), State: states[w.r.IntN(len(states))], Hold: w.r.IntN(2) == 0,
			Attempt: &store.Attempt{Outcome: store.Succeeded, Status: 200},
		})
	}
	answers, err := w.s.Finish(w.t.Context(), batch)
	if err != nil {
		w.t.Errorf("Finish: %v", err)
	}
	w.l.note(func() {
		for _, a := range answers {
			if a.Err == nil && a.Delivery.State.Final() {
				w.l.finished[a.Delivery.ID] = a.Delivery.State
			}
		}
	})
}

func (w *worker) delete() {
	var id store.MessageID
	w.l.note(func() {
		for id = range w.l.accepted {
			break
		}
		w.l.deleted[id] = true
	})
	if err := w.s.Delete(w.t.Context(), id); err != nil && !errors.Is(err, store.ErrNotFound) {
		w.t.Errorf("Delete: %v", err)
	}
}

// operate re-drives what is dead and deletes what has ended, in one batch.
func (w *worker) operate() {
	var batch []store.Operation
	w.l.note(func() {
		for id, state := range w.l.finished {
			switch {
			case len(batch) == 8:
				return
			case state == store.Dead && w.r.IntN(2) == 0:
				delete(w.l.finished, id)
				batch = append(batch, store.Operation{Action: store.ActionRedrive, Delivery: id})
			case w.r.IntN(4) == 0:
				w.l.deleted[id.Message] = true
				batch = append(batch, store.Operation{Action: store.ActionDelete, Delivery: id})
			}
		}
	})
	if _, err := w.s.Operate(w.t.Context(), batch); err != nil {
		w.t.Errorf("Operate: %v", err)
	}
}

func (w *worker) purge() {
	w.l.note(func() { w.l.purging = true })
	if _, err := w.s.Purge(w.t.Context(), store.PurgeRequest{Finished: time.Microsecond}); err != nil {
		w.t.Errorf("Purge: %v", err)
	}
}

// check compares a store with what was promised.
func (l *ledger) check(t *testing.T, s store.Store) {
	t.Helper()
	l.checkKeys(t, s)
	count := make(map[string]store.Books)
	for id, a := range l.accepted {
		all, err := s.Deliveries(t.Context(), id)
		if errors.Is(err, store.ErrNotFound) && (l.deleted[id] || l.purged(a)) {
			continue
		}
		if err != nil {
			t.Fatalf("deliveries of accepted message: %v", err)
		}
		if a.Message == nil {
			continue
		}
		if len(all) != len(a.Deliveries) {
			t.Errorf("message %s has %d deliveries, was accepted with %d", id, len(all), len(a.Deliveries))
		}
		checkHas(t, s, a)
		for _, d := range all {
			// A dead one may have been re-driven by a duplicate that was answered later.
			if want, ok := l.finished[d.ID]; ok && d.State != want && (want != store.Dead || d.Generation == 0) {
				t.Errorf("delivery %s is %s, was finished as %s", d.ID, d.State, want)
			}
		}
	}
	books, err := s.Books(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left, err := s.ListDeliveries(t.Context(), store.DeliveryQuery{Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range left {
		b := count[d.Destination]
		if d.State.Open() {
			b.Open++
			b.OpenBytes += uint64(d.BodySize)
		}
		count[d.Destination] = b
	}
	for destination, b := range books {
		if n := count[destination]; !b.Balanced() || b.Open != n.Open || b.OpenBytes != n.OpenBytes {
			t.Errorf("books of %s: %+v, open are %d of %d bytes", destination, b, n.Open, n.OpenBytes)
		}
	}
	checkDue(t, s, left)
}

// crashEvents is how many different events there are.
const crashEvents = 1000

// repeat sends every event once more, as senders do that got no answer. None may
// be taken for a duplicate of a message that a cut has left nothing of.
func (l *ledger) repeat(t *testing.T, s store.Store) {
	batch := make([]store.Acceptance, crashEvents)
	for n := range batch {
		batch[n] = message(n)
	}
	answers, err := accept(s, batch...)
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	for n, a := range answers {
		if a.Verdict == store.DuplicatePurged && !l.purging && !l.deleted[a.Message] {
			t.Errorf("event %d is a duplicate of %s, which is not there", n, a.Message)
		}
	}
}

// unclaimed is a destination that nobody claims for: what goes there stays open.
const unclaimed = "2"

// purged reports whether a purge may have removed a message.
func (l *ledger) purged(a store.Acceptance) bool {
	return l.purging && !slices.ContainsFunc(a.Deliveries, func(d store.NewDelivery) bool { return d.Destination == unclaimed })
}

// checkDue checks that every open delivery can be claimed that is not blocked,
// and nothing else: of each lane the first one, unless that is dead and holds it.
func checkDue(t *testing.T, s store.Store, left []store.Delivery) {
	t.Helper()
	type name struct{ destination, key string }
	heads := make(map[name]store.Delivery)
	for _, d := range left {
		lane := name{d.Destination, d.OrderKey}
		if head, ok := heads[lane]; d.Place != 0 && (!ok || d.Place < head.Place) {
			heads[lane] = d
		}
	}
	want := make(map[string]int)
	for _, d := range left {
		head := d.Place == 0 || heads[name{d.Destination, d.OrderKey}].ID == d.ID
		if head == d.Blocked() {
			t.Errorf("delivery %s at place %d of %q is %s and blocked: %v, head: %v", d.ID, d.Place, d.OrderKey, d.State, d.Blocked(), head)
		}
		if d.State.Open() && head {
			want[d.Destination]++
		}
	}
	for destination, n := range want {
		c, err := s.Claim(t.Context(), store.ClaimRequest{Destination: destination, Limit: 1 << 20, Lease: time.Minute})
		if err != nil {
			t.Fatalf("Claim: %v", err)
		}
		if len(c.Deliveries) != n {
			t.Errorf("claimed %d of %d deliveries to %s that are open and not blocked", len(c.Deliveries), n, destination)
		}
		var back []store.Finish
		for _, d := range c.Deliveries {
			back = append(back, store.Finish{Lease: d.Lease(), State: store.Pending})
		}
		if _, err := s.Finish(t.Context(), back); err != nil {
			t.Fatalf("Finish: %v", err)
		}
	}
}
