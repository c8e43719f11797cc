// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// handed is a store whose deliveries are handed over.
type handed struct {
	*testing.T
	s    *Store
	opts Options
	next uint64
}

func newHanded(t *testing.T) *handed {
	h := &handed{T: t, opts: Options{FS: vfs.NewMem()}.WithCohorts(4, 16), next: 1000}
	h.open()
	t.Cleanup(func() { _ = h.s.Close() })
	return h
}

func (h *handed) open() {
	h.Helper()
	var err error
	if h.s, err = Open("store", h.opts); err != nil {
		h.Fatal(err)
	}
}

// crash opens the store as the disk has it, with all that was synced.
func (h *handed) crash() {
	h.Helper()
	if err := h.s.Close(); err != nil {
		h.Fatal(err)
	}
	h.open()
}

// accept accepts messages with growing ids, each with a delivery that is handed over.
func (h *handed) accept(n int) (all []store.Delivery) {
	h.Helper()
	for range n {
		h.next++
		all = append(all, h.acceptAs(h.next, store.NewDelivery{Destination: "d", Lease: time.Minute}))
	}
	return all
}

func (h *handed) acceptAs(n uint64, d store.NewDelivery) store.Delivery {
	h.Helper()
	var id store.MessageID
	binary.BigEndian.PutUint64(id[8:], n)
	answers, err := h.s.Accept(h.Context(), []store.Acceptance{{Message: &store.Message{ID: id}, Deliveries: []store.NewDelivery{d}}})
	if err != nil {
		h.Fatal(err)
	}
	return answers[0].Deliveries[0]
}

func (h *handed) finish(state store.State, all ...store.Delivery) {
	h.Helper()
	var batch []store.Finish
	for i := range all {
		batch = append(batch, store.Finish{Lease: all[i].Lease(), State: state, Attempt: &store.Attempt{Outcome: store.Succeeded}})
	}
	answers, err := h.s.Finish(h.Context(), batch)
	for _, a := range answers {
		if err == nil {
			err = a.Err
		}
	}
	if err != nil {
		h.Fatal(err)
	}
}

// keys returns how many due keys the disk has.
func (h *handed) keys() (n int) {
	h.Helper()
	it, err := h.s.iterate([]byte{spaceDue})
	if err != nil {
		h.Fatal(err)
	}
	defer func() { _ = it.Close() }()
	for it.First(); it.Valid(); it.Next() {
		n++
	}
	return n
}

// mark returns the message id that the disk has for a mark, as a number.
func (h *handed) mark() uint64 {
	h.Helper()
	b, done, err := h.s.db.Get(markKey)
	if err != nil {
		h.Fatal(err)
	}
	defer func() { _ = done.Close() }()
	return binary.BigEndian.Uint64(b[8:])
}

// claimed returns what can be claimed, by the numbers of the messages.
func (h *handed) claimed() (ids []uint64) {
	h.Helper()
	c, err := h.s.Claim(h.Context(), store.ClaimRequest{Destination: "d", Limit: 1 << 20, Lease: time.Minute})
	if err != nil {
		h.Fatal(err)
	}
	for _, d := range c.Deliveries {
		ids = append(ids, binary.BigEndian.Uint64(d.ID.Message[8:]))
	}
	slices.Sort(ids)
	return ids
}

func (h *handed) wantKeys(what string, want int) {
	h.Helper()
	if n := h.keys(); n != want {
		h.Errorf("%s: %d due keys, want %d", what, n, want)
	}
}

func (h *handed) wantClaimed(what string, want ...uint64) {
	h.Helper()
	if got := h.claimed(); !slices.Equal(got, want) {
		h.Errorf("%s: claimed %d, want %d", what, got, want)
	}
}

func TestHandedOverHasNoDueKeyUntilItIsGivenBack(t *testing.T) {
	h := newHanded(t)
	all := h.accept(6)
	h.wantKeys("handed over", 0)
	h.finish(store.Delivered, all[0])
	h.finish(store.Dead, all[1])
	h.wantKeys("ended", 0)
	h.finish(store.Pending, all[2])
	h.wantKeys("given back", 1)
	h.finish(store.Waiting, all[3])
	h.wantKeys("waiting", 2)
	if _, err := h.s.Cancel(t.Context(), all[4].ID); err != nil {
		t.Error(err)
	}
	if err := h.s.Delete(t.Context(), all[5].ID.Message); err != nil {
		t.Error(err)
	}
	h.wantKeys("canceled and deleted", 2)
	h.wantClaimed("what was given back", 1003, 1004)
	h.crash()
	h.wantClaimed("what was given back, after a crash", 1003, 1004)
	h.acceptAs(1, store.NewDelivery{Destination: "d", OrderKey: "k", Lease: time.Minute})
	h.wantKeys("head of a lane", 3)
	h.acceptAs(2, store.NewDelivery{Destination: "d"})
	h.wantKeys("not handed over", 4)
}

func TestC8_HandedOverIsClaimedAfterACrash(t *testing.T) {
	h := newHanded(t)
	all := h.accept(3)
	h.finish(store.Delivered, all[1])
	for range 3 {
		h.crash()
		h.wantKeys("after a crash", 2)
		h.wantClaimed("after a crash", 1001, 1003)
	}
	d, err := h.s.Deliveries(t.Context(), all[0].ID.Message)
	if err != nil || d[0].DueAt != all[0].DueAt || d[0].Attempts != 0 {
		t.Errorf("delivery: %+v, %v, want it as %+v", d, err, all[0])
	}
}

// A lease that has run out is claimed again from memory, and the delivery still
// has no key.
func TestC9_HandedOverIsClaimedAgainAfterItsLease(t *testing.T) {
	h := newHanded(t)
	now := time.Now()
	h.opts.Now = func() time.Time { return now }
	h.crash()
	late := h.accept(1)[0]
	h.wantClaimed("leased")
	now = now.Add(2 * time.Minute)
	h.wantClaimed("after the lease", 1001)
	h.wantKeys("claimed again", 0)
	answers, err := h.s.Finish(t.Context(), []store.Finish{{Lease: late.Lease(), State: store.Delivered, Attempt: &store.Attempt{Outcome: store.Succeeded}}})
	if err != nil || answers[0].Err == nil {
		t.Errorf("late Finish: %+v, %v", answers, err)
	}
	h.wantKeys("superseded", 0)
	h.crash()
	h.wantClaimed("after a crash", 1001)
	h.wantKeys("after a crash", 1)
}

func TestMarkFollowsWhatWasHandedOver(t *testing.T) {
	h := newHanded(t)
	hung := h.accept(1)
	for range 10 {
		h.finish(store.Delivered, h.accept(1)...)
	}
	if got := h.mark(); got != 1001 {
		t.Errorf("mark is %d while 1001 is under way", got)
	}
	h.finish(store.Delivered, hung...)
	h.finish(store.Delivered, h.accept(1)...)
	if got := h.mark(); got < 1009 || got > 1012 {
		t.Errorf("mark is %d after all but 1012 have ended", got)
	}
	for n := range uint64(8) { // what is not handed over takes the mark along, too
		h.acceptAs(1100+n, store.NewDelivery{Destination: "e"})
	}
	if got := h.mark(); got != 1<<64-1 {
		t.Errorf("mark is %d with nothing handed over", got)
	}
	if n := len(h.s.cohorts); n != 0 {
		t.Errorf("%d cohorts are left", n)
	}
	h.crash()
	h.wantClaimed("after a crash")
}

// Where a destination hangs, what it holds gets keys, so that the mark can go on.
func TestHandedOverThatHangsGetsItsKey(t *testing.T) {
	h := newHanded(t)
	hung := h.accept(3)
	for range 40 {
		h.finish(store.Delivered, h.accept(1)...)
	}
	h.wantKeys("what hangs", 3)
	if got := h.mark(); got < 1025 {
		t.Errorf("mark is %d", got)
	}
	if n := len(h.s.cohorts); n > 5 {
		t.Errorf("%d cohorts", n)
	}
	h.finish(store.Delivered, hung[0])
	h.finish(store.Waiting, hung[1])
	h.wantKeys("what has ended", 2)
	h.crash()
	h.wantClaimed("after a crash", 1002, 1003)
}

func TestMarkMovesBackForAnOlderMessage(t *testing.T) {
	for _, began := range []int{0, 2, 7, 30} {
		h := newHanded(t)
		h.accept(began)
		h.acceptAs(5, store.NewDelivery{Destination: "d", Lease: time.Minute})
		if got := h.mark(); got != 5 {
			t.Errorf("mark is %d, want 5", got)
		}
		h.crash()
		if got := h.claimed(); len(got) != began+1 || got[0] != 5 {
			t.Errorf("claimed %d", got)
		}
	}
}

func TestRecoveryTakesManySteps(t *testing.T) {
	h := newHanded(t)
	h.opts = h.opts.WithCohorts(1<<20, 1<<20)
	h.crash()
	const messages = 2*recoverStep + 10
	var want []uint64
	for from := uint64(1); from <= messages; from += 1000 {
		var batch []store.Acceptance
		for n := from; n < min(from+1000, messages+1); n++ {
			var id store.MessageID
			binary.BigEndian.PutUint64(id[8:], n)
			want = append(want, n)
			batch = append(batch, store.Acceptance{Message: &store.Message{ID: id}, Deliveries: []store.NewDelivery{{Destination: "d", Lease: time.Minute}}})
		}
		if _, err := h.s.Accept(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	h.crash()
	h.wantKeys("recovered", messages)
	if got := h.claimed(); !slices.Equal(got, want) {
		t.Errorf("claimed %d deliveries of %d", len(got), messages)
	}
}

func TestRecoveryPassesByWhatItCanNotRead(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	h := newHanded(t)
	h.opts.Logger = zap.New(core)
	all := h.accept(5)
	if err := h.s.db.Set(appendDeliveryKey(nil, all[2].ID), []byte{0xff}, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	h.crash()
	h.wantClaimed("after a crash", 1001, 1002, 1004, 1005)
	if n := logs.FilterMessageSnippet("can not be read").Len(); n != 1 {
		t.Errorf("%d alarms, want 1", n)
	}
}

// A block of a table that can not be read costs what is in it, and no more.
func TestT19_RecoveryPassesByABlockThatItCanNotRead(t *testing.T) {
	const messages = 3000
	passed := 0
	for place, fs := range damagedBlocks(t, messages, time.Minute) {
		core, logs := observer.New(zap.ErrorLevel)
		s, err := Open("store", Options{FS: fs, Logger: zap.New(core)})
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("place %d: Open: %v", place, err)
			}
			continue
		}
		h := &handed{T: t, s: s}
		if n := logs.FilterMessageSnippet("deliveries can not be read").Len(); n > 0 {
			passed++
			if got := len(h.claimed()); n != 1 || got < messages-300 || got == messages {
				t.Errorf("place %d: %d alarms, claimed %d of %d", place, n, got, messages)
			}
		}
		_ = s.Close()
	}
	if passed == 0 {
		t.Error("no place was in a block of deliveries")
	}
}
