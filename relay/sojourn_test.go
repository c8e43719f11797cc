// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

func TestP10_AQueueStandsOnlyWhenItsLeastSojournStaysAboveTheLimit(t *testing.T) {
	const over, under = sojournLimit + time.Millisecond, sojournLimit
	type served struct {
		at     time.Duration
		waited time.Duration
		left   bool
		want   bool
	}
	for name, steps := range map[string][]served{
		"a burst":             {{0, over, true, false}, {90 * time.Millisecond, over, true, false}, {100 * time.Millisecond, under, true, false}},
		"a standing queue":    {{0, over, true, false}, {99 * time.Millisecond, over, true, false}, {100 * time.Millisecond, over, true, true}},
		"one that drains":     {{0, over, true, false}, {time.Second, over, true, true}, {2 * time.Second, under, true, false}, {3 * time.Second, over, true, false}},
		"one that is emptied": {{0, over, true, false}, {time.Second, over, true, true}, {2 * time.Second, over, false, false}},
		"a slow disk":         {{0, time.Hour, false, false}, {time.Second, time.Hour, false, false}, {2 * time.Second, time.Hour, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			s := sojourn{limit: sojournLimit}
			begin := time.Now()
			for i, step := range steps {
				s.served(begin.Add(step.at), step.waited, step.left)
				if s.standing != step.want {
					t.Errorf("after step %d it stands: %v", i, s.standing)
				}
			}
		})
	}
}

// flood submits messages at a steady rate for a time, every tenth of them one that
// is shed last, and returns how many of each were refused at once and how long the
// slowest of those waited that were taken.
func flood(t *testing.T, r *rig, every, span time.Duration) (refused, last int, slowest time.Duration) {
	t.Helper()
	type answer struct {
		last bool
		took time.Duration
		err  error
	}
	n := int(span / every)
	answers := make(chan answer, n)
	for i := range n {
		in := r.inbound(fmt.Sprint("flood", i))
		in.ShedLast = i%10 == 0
		go func() {
			begun := time.Now()
			_, err := r.Accept(context.Background(), in)
			answers <- answer{in.ShedLast, time.Since(begun), err}
		}()
		settle(every)
	}
	settle(time.Minute)
	for range n {
		a := <-answers
		switch {
		case a.err == nil:
			slowest = max(slowest, a.took)
		case !errors.Is(a.err, ErrOverloaded):
			t.Fatalf("refused with %v", a.err)
		case a.took > 0:
			t.Fatalf("refused after %v", a.took)
		case a.last:
			last++
		default:
			refused++
		}
	}
	return refused, last, slowest
}

func TestP10_UnderFiveTimesTheLoadWhatIsTakenWaitsLittle(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		// The disk takes 2,560 messages a second.
		r.store.accept.set(func([]store.Acceptance) error { time.Sleep(100 * time.Millisecond); return nil })
		if refused, last, _ := flood(t, r, time.Second/2000, 2*time.Second); refused+last > 0 {
			t.Errorf("%d and %d refused although the disk keeps up", refused, last)
		}
		refused, last, slowest := flood(t, r, time.Second/12_800, 2*time.Second)
		if share := float64(refused) / (25_600 * 9 / 10); share < 0.5 || share > 0.85 {
			t.Errorf("%.2f of the messages are refused, want about four fifths of them", share)
		}
		if last > 0 || slowest > time.Second {
			t.Errorf("%d refused that are to be shed last, the slowest took %v", last, slowest)
		}
		if refused, _, _ := flood(t, r, time.Second/2000, time.Second); refused > 0 {
			t.Errorf("%d refused after the overload", refused)
		}
	})
}

// TestP10_OnASlowDiskWhatIsTakenWaitsLessThanASecond begins with a burst: no commit has ended by whose time one could
// tell how slow the disk is.
func TestP10_OnASlowDiskWhatIsTakenWaitsLessThanASecond(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		// The disk takes 1,024 messages a second.
		r.store.accept.set(func([]store.Acceptance) error { time.Sleep(250 * time.Millisecond); return nil })
		refused, last, slowest := flood(t, r, time.Second/5120, 4*time.Second)
		if share := float64(refused) / (20_480 * 9 / 10); share < 0.5 || share > 0.9 {
			t.Errorf("%.2f of the messages are refused, want about four fifths of them", share)
		}
		if last > 0 || slowest > time.Second {
			t.Errorf("%d refused that are to be shed last, the slowest took %v", last, slowest)
		}
	})
}

func TestP10_ADiskThatDoesNotAnswerFillsNoQueue(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		commit := make(chan struct{})
		r.store.accept.set(func([]store.Acceptance) error { <-commit; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		try := func(body string, last bool) error {
			in := r.inbound(body)
			in.ShedLast = last
			result := make(chan error, 1)
			go func() {
				_, err := r.Accept(ctx, in)
				result <- err
			}()
			synctest.Wait()
			select {
			case err := <-result:
				return err
			default:
				return nil
			}
		}
		for i, step := range []struct {
			after time.Duration
			last  bool
			want  error
		}{
			{0, false, nil},
			{0, false, nil},
			{time.Second, false, nil},
			{time.Millisecond, false, ErrOverloaded},
			{0, true, nil},
			{time.Second, true, ErrOverloaded},
		} {
			settle(step.after)
			if err := try(fmt.Sprint(i), step.last); !errors.Is(err, step.want) {
				t.Errorf("step %d: %v, want %v", i, err, step.want)
			}
		}
		close(commit)
		settle(time.Second)
		if err := try("after", false); err != nil {
			t.Errorf("when the disk answers again: %v", err)
		}
	})
}

func TestP10_AStandingQueueRefusesThoseThatComeAgain(t *testing.T) {
	q, begin := newCommitQueue(), time.Now()
	add := func(at time.Duration, last bool) error {
		return q.add(&entry{since: begin.Add(at), inbound: Inbound{ShedLast: last, Message: &store.Message{}}})
	}
	for range 4 * commitBatch {
		if err := add(0, false); err != nil {
			t.Fatal(err)
		}
	}
	for i, at := range []time.Duration{110 * time.Millisecond, 220 * time.Millisecond} {
		q.take(begin.Add(at), nil)
		if err := add(at, false); (err != nil) != (i == 1) {
			t.Errorf("after %v: %v", at, err)
		}
	}
	if err := add(220*time.Millisecond, true); err != nil {
		t.Errorf("one that does not come again: %v", err)
	}
	for range 3 {
		q.take(begin.Add(230*time.Millisecond), nil)
	}
	if err := add(240*time.Millisecond, false); err != nil || q.len() != 1 {
		t.Errorf("when it has drained: %v, %d wait", err, q.len())
	}
}
