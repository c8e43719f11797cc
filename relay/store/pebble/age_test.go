// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// The times that the tests of aging purge by.
const (
	keepFinished = time.Hour
	keepKeys     = 7 * 24 * time.Hour
)

// aging is a store whose clock is set by hand at every opening.
type aging struct {
	*testing.T
	fs  vfs.FS
	now time.Time
	s   *Store
}

func newAging(t *testing.T) *aging {
	a := &aging{T: t, fs: vfs.NewMem(), now: time.Date(2026, 3, 1, 11, 59, 37, 0, time.UTC)}
	a.open(a.now)
	t.Cleanup(func() { _ = a.s.Close() })
	return a
}

// open opens the store when its clock shows the given time.
func (a *aging) open(now time.Time) {
	a.Helper()
	if a.s != nil {
		if err := a.s.Close(); err != nil {
			a.Fatal(err)
		}
	}
	a.now = now
	s, err := Open("store", Options{FS: a.fs, Now: func() time.Time { return a.now }})
	if err != nil {
		a.Fatal(err)
	}
	a.s = s
}

// delivered accepts a message with a key and delivers it.
func (a *aging) delivered(key byte) store.MessageID {
	a.Helper()
	answer := a.send(key)
	if answer.Verdict != store.Fresh {
		a.Fatalf("key %d: %+v", key, answer)
	}
	f := []store.Finish{{Lease: answer.Deliveries[0].Lease(), State: store.Delivered}}
	if _, err := a.s.Finish(a.Context(), f); err != nil {
		a.Fatal(err)
	}
	return answer.Message
}

// send accepts a message with a key, or its duplicate.
func (a *aging) send(key byte) store.Accepted {
	a.Helper()
	var id ulid.ULID
	if err := id.SetTime(ulid.Timestamp(a.now)); err != nil {
		a.Fatal(err)
	}
	copy(id[6:], ulid.Make().Entropy())
	answers, err := a.s.Accept(a.Context(), []store.Acceptance{{
		Message: &store.Message{ID: store.MessageID(id)}, Key: store.DedupeKey{key}, Window: keepKeys,
		Deliveries: []store.NewDelivery{{Destination: "d", Lease: time.Minute}},
	}})
	if err != nil {
		a.Fatal(err)
	}
	return answers[0]
}

func (a *aging) purge() int {
	a.Helper()
	p, err := a.s.Purge(a.Context(), store.PurgeRequest{Finished: keepFinished, Dead: keepFinished, DedupeWindow: keepKeys})
	if err != nil {
		a.Fatal(err)
	}
	return p.Messages
}

func (a *aging) checkHas(id store.MessageID, has bool) {
	a.Helper()
	_, err := a.s.Message(a.Context(), id)
	if has && err != nil || !has && !errors.Is(err, store.ErrNotFound) {
		a.Errorf("message %s at %s: %v, want it there: %t", id, a.now, err, has)
	}
}

func TestWrongClockPurgesNothing(t *testing.T) {
	a := newAging(t)
	id, right := a.delivered(1), a.now
	a.open(right.AddDate(10, 0, 0))
	if n := a.purge(); n != 0 {
		t.Errorf("%d messages purged under a clock that is ten years ahead", n)
	}
	a.open(right.Add(time.Minute))
	a.purge()
	a.checkHas(id, true)
	if answer := a.send(1); answer.Verdict == store.Fresh || answer.Message != id {
		t.Errorf("duplicate answered %+v", answer)
	}
	a.now = a.now.Add(keepFinished)
	a.purge()
	a.checkHas(id, false)
}

func TestWrongClockMakesNothingOld(t *testing.T) {
	a := newAging(t)
	since := a.now
	a.now = a.now.Add(time.Hour)
	_ = a.delivered(1)
	lived := a.s.Age(since)
	a.open(a.now.AddDate(10, 0, 0))
	a.now = a.now.Add(time.Minute)
	if age := a.s.Age(since); age < lived || age > lived+2*time.Minute {
		t.Errorf("under a clock that is ten years ahead something is %s old, %s before that", age, lived)
	}
	if age := a.s.Age(a.now.Add(-time.Second)); age != time.Second {
		t.Errorf("what is a second old is %s old", age)
	}
	if age := a.s.Age(a.now.Add(time.Hour)); age != 0 {
		t.Errorf("what is to come is %s old", age)
	}
}

func TestClockThatIsSetBackPurgesNothingEarly(t *testing.T) {
	a := newAging(t)
	id, right := a.delivered(1), a.now
	a.open(right.AddDate(-10, 0, 0))
	a.now = a.now.Add(keepFinished - time.Minute)
	a.purge()
	a.checkHas(id, true)
	a.now = a.now.Add(2 * time.Minute)
	a.purge()
	a.checkHas(id, false) // it has been there for its time
	a.open(right.Add(time.Minute))
	if answer := a.send(1); answer.Verdict == store.Fresh {
		t.Errorf("duplicate answered %+v", answer)
	}
}

func TestThingsAgeAfterAMonthOff(t *testing.T) {
	a := newAging(t)
	old := a.delivered(1)
	a.open(a.now.AddDate(0, 1, 0))
	a.purge()
	a.checkHas(old, true)
	a.now = a.now.Add(keepFinished - time.Minute)
	later := a.delivered(2)
	a.now = a.now.Add(time.Minute)
	a.purge()
	a.checkHas(old, false)
	a.checkHas(later, true)
	a.now = a.now.Add(keepFinished)
	a.purge()
	a.checkHas(later, false)

	// The old key's bucket goes when the process has run for the window.
	buckets := func() int { return len(a.s.buckets) }
	if buckets() != 2 {
		t.Errorf("%d buckets, want 2", buckets())
	}
	a.now = a.now.Add(keepKeys - 24*time.Hour)
	if a.purge(); buckets() != 2 {
		t.Errorf("%d buckets inside the window, want 2", buckets())
	}
	a.now = a.now.Add(2 * 24 * time.Hour)
	if a.purge(); buckets() > 1 {
		t.Errorf("%d buckets after the window, want the newer one at most", buckets())
	}
	a.now = a.now.AddDate(0, 2, 0) // it began before the store was opened
	if a.purge(); buckets() != 0 {
		t.Errorf("%d buckets after all windows, want none", buckets())
	}
}

func TestRestartInTimeChangesNoAge(t *testing.T) {
	a := newAging(t)
	id := a.delivered(1)
	a.now = a.now.Add(keepFinished - time.Minute)
	a.delivered(2)
	a.open(a.now.Add(time.Minute))
	a.purge()
	a.checkHas(id, true) // the minute in between is not counted
	a.now = a.now.Add(time.Minute)
	a.purge()
	a.checkHas(id, false)
}

// claim claims all that is due.
func (a *aging) claim() store.Claimed {
	a.Helper()
	c, err := a.s.Claim(a.Context(), store.ClaimRequest{Destination: "d", Limit: 10, Lease: time.Minute})
	if err != nil {
		a.Fatal(err)
	}
	return c
}

func TestT17_AClockThatIsBehindAtARestartKeepsNothingWaiting(t *testing.T) {
	a := newAging(t)
	pending, waits, right := a.send(1).Message, a.send(2), a.now
	f := store.Finish{Lease: waits.Deliveries[0].Lease(), State: store.Waiting, Delay: time.Minute}
	if _, err := a.s.Finish(a.Context(), []store.Finish{f}); err != nil {
		t.Fatal(err)
	}
	a.open(right.AddDate(-10, 0, 0))
	c := a.claim()
	if len(c.Deliveries) != 1 || c.Deliveries[0].ID.Message != pending {
		t.Fatalf("claimed %+v", c)
	}
	if wait := c.Next.Sub(a.s.Now()); wait > time.Minute || wait < time.Minute-noteEvery {
		t.Errorf("what waits is due in %s", wait)
	}
	a.now = a.now.Add(time.Minute)
	if c := a.claim(); len(c.Deliveries) != 2 {
		t.Errorf("claimed %+v", c)
	}
}

func TestP4_AClockThatIsAheadAtARestartEndsNoWindow(t *testing.T) {
	a := newAging(t)
	a.send(1)
	right := a.now
	if _, err := a.s.Remember(t.Context(), store.DedupeKey{9}, store.MessageID{1}, keepKeys); err != nil {
		t.Fatal(err)
	}
	for i, at := range []time.Time{right.AddDate(10, 0, 0), right.Add(time.Minute), right.AddDate(1, 0, 0), right.Add(time.Hour)} {
		a.open(at)
		a.purge()
		if answer := a.send(1); answer.Verdict == store.Fresh {
			t.Errorf("after %d restarts: %+v", i+1, answer)
		}
		if _, err := a.s.Recall(t.Context(), store.DedupeKey{9}, keepKeys); err != nil {
			t.Errorf("after %d restarts: %v", i+1, err)
		}
		a.now = a.now.Add(time.Hour)
		a.send(byte(10 + i)) // what is accepted under a wrong clock moves nothing
	}
	a.now = a.now.Add(keepKeys)
	if answer := a.send(1); answer.Verdict != store.Fresh {
		t.Errorf("after its window: %+v", answer)
	}
	if _, err := a.s.Recall(t.Context(), store.DedupeKey{9}, keepKeys); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after its window: %v", err)
	}
}

func TestOldGapsAreForgotten(t *testing.T) {
	a := newAging(t)
	for range maxGaps + 5 {
		a.open(a.now.Add(time.Minute))
	}
	if n := len(a.s.age.gaps); n != maxGaps {
		t.Errorf("%d gaps", n)
	}
	kept := a.s.age.gaps[0]
	a.open(a.now)
	if n := len(a.s.age.gaps); n != maxGaps-1 || a.s.age.gaps[0].end.Equal(kept.end) {
		t.Errorf("%d gaps on disk, the first is %+v", n, a.s.age.gaps[0])
	}
}
