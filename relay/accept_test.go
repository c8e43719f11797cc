// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

func TestP1_AcceptReturnsOnlyAfterTheCommit(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		commit := make(chan struct{})
		r.store.accept.set(func([]store.Acceptance) error { <-commit; return nil })
		var returned bool
		go func() {
			r.accept("a")
			returned = true
		}()
		synctest.Wait()
		if returned || r.upstream.count() > 0 {
			t.Errorf("before the commit: returned %v, %d attempts", returned, r.upstream.count())
		}
		close(commit)
		synctest.Wait()
		if !returned || r.upstream.count() != 1 {
			t.Errorf("after the commit: returned %v, %d attempts", returned, r.upstream.count())
		}
	})
}

func TestP2_DuplicatesWaitForTheCommitOfTheirOriginal(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		commit := make(chan struct{})
		commits := 0
		r.store.accept.set(func(batch []store.Acceptance) error { commits += len(batch); <-commit; return nil })
		var mu sync.Mutex
		verdicts := make(map[store.Verdict]int)
		ids := make(map[store.MessageID]int)
		for range 50 {
			go func() {
				receipt := r.accept("same")
				mu.Lock()
				defer mu.Unlock()
				verdicts[receipt.Verdict]++
				ids[receipt.ID]++
			}()
		}
		synctest.Wait()
		if len(verdicts) > 0 {
			t.Errorf("answered before the commit: %v", verdicts)
		}
		close(commit)
		synctest.Wait()
		if verdicts[store.Fresh] != 1 || verdicts[store.DuplicateOpen] != 49 || len(ids) != 1 || commits != 1 {
			t.Errorf("verdicts %v, %d ids, %d commits", verdicts, len(ids), commits)
		}
		settle(time.Second)
		if r.upstream.count() != 1 {
			t.Errorf("%d attempts", r.upstream.count())
		}
	})
}

func TestP2_ADuplicateTakesThePlaceOfAnOriginalThatFails(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		commit := make(chan error)
		r.store.accept.set(func([]store.Acceptance) error { return <-commit })
		results := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := r.Accept(context.Background(), r.inbound("same"))
				results <- err
			}()
		}
		synctest.Wait()
		busy := errors.New("busy")
		commit <- busy
		if err := <-results; !errors.Is(err, busy) {
			t.Errorf("the original got %v", err)
		}
		synctest.Wait()
		if len(results) > 0 {
			t.Error("a duplicate was answered although nothing is durable")
		}
		commit <- nil
		for range 2 {
			if err := <-results; err != nil {
				t.Errorf("a duplicate got %v", err)
			}
		}
		settle(time.Second)
		if r.upstream.count() != 1 {
			t.Errorf("%d attempts", r.upstream.count())
		}
	})
}

func TestP2_TheDeadlineEndsTheWaitAndNotTheCommit(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		commit := make(chan struct{})
		r.store.accept.set(func([]store.Acceptance) error { <-commit; return nil })
		var group sync.WaitGroup
		for range 3 { // the original and two duplicates
			group.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
				defer cancel()
				begun := time.Now()
				if _, err := r.Accept(ctx, r.inbound("a")); !errors.Is(err, ErrDeadline) {
					t.Errorf("got %v, want %v", err, ErrDeadline)
				}
				if took := time.Since(begun); took != 2500*time.Millisecond {
					t.Errorf("returned after %v", took)
				}
			})
		}
		group.Wait()
		if r.Budget().Used() != 1 {
			t.Errorf("%d bytes are taken while the commit is under way, want those of the original", r.Budget().Used())
		}
		close(commit)
		settle(time.Second)
		if v := r.accept("a").Verdict; v != store.DuplicateDelivered {
			t.Errorf("the retry is %s", v)
		}
		if r.upstream.count() != 1 {
			t.Errorf("%d attempts", r.upstream.count())
		}
	})
}

func TestP10_AFullQueueRefusesAndShedsNothing(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		commit := make(chan struct{})
		r.store.accept.set(func([]store.Acceptance) error { <-commit; return nil })
		const extra = 100
		results := make(chan error, 2*commitQueueSize)
		waiting := 0
		for i := range commitQueueSize + 2*commitBatch + extra {
			waiting++
			go func() {
				_, err := r.Accept(context.Background(), r.inbound(fmt.Sprint(i)))
				results <- err
			}()
		}
		synctest.Wait()
		refused := len(results)
		if refused < extra {
			t.Errorf("%d refused at once, want at least %d", refused, extra)
		}
		close(commit)
		for i := range waiting {
			err := <-results
			if i < refused && !errors.Is(err, ErrOverloaded) || i >= refused && err != nil {
				t.Fatalf("answer %d is %v", i, err)
			}
		}
		settle(time.Minute)
		if r.upstream.count() != waiting-refused {
			t.Errorf("%d attempts, want %d", r.upstream.count(), waiting-refused)
		}
	})
}

func TestP4_TheKeyIsForgottenAfterItsWindow(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		first := r.accept("a")
		settle(24*time.Hour - time.Millisecond)
		if again := r.accept("a"); again.Verdict == store.Fresh || again.ID != first.ID || !again.AcceptedAt.Equal(first.AcceptedAt) {
			t.Errorf("inside of the window: %+v after %+v", again, first)
		}
		settle(time.Millisecond)
		if again := r.accept("a"); again.Verdict != store.Fresh || again.ID == first.ID {
			t.Errorf("after the window: %+v", again)
		}
		if other := r.accept("b"); other.Verdict != store.Fresh {
			t.Errorf("another message: %+v", other)
		}
		for range 2 {
			if none := r.accept(""); none.Verdict != store.Fresh {
				t.Errorf("without an identity: %+v", none)
			}
		}
	})
}

func TestP4_KeysArePrefixedByTheLengthOfTheirParts(t *testing.T) {
	parts := func(texts ...string) [][]byte {
		var all [][]byte
		for _, text := range texts {
			all = append(all, []byte(text))
		}
		return all
	}
	long := string(bytes.Repeat([]byte("x"), 1000))
	seen := make(map[store.DedupeKey]string)
	for _, tt := range []struct {
		source, scheme string
		parts          [][]byte
	}{
		{"s", "", parts("ab", "c")},
		{"s", "", parts("a", "bc")},
		{"s", "", parts("abc")},
		{"s", "", parts("abc", "")},
		{"s", "", parts("", "abc")},
		{"sa", "", parts("bc")},
		{"s", "a", parts("bc")},
		{"", "sa", parts("bc")},
		{"s", "", parts("")},
		{"s", "", parts(long)},
		{"s", "", parts(long, "")},
		{"s", "", parts(long + "x")},
	} {
		key := DedupeKey(tt.source, tt.scheme, tt.parts)
		text := fmt.Sprintf("%q %q %q", tt.source, tt.scheme, tt.parts)
		if other, ok := seen[key]; ok || key.IsZero() {
			t.Errorf("%s has the key %x of %s", text, key, other)
		}
		if key != DedupeKey(tt.source, tt.scheme, tt.parts) {
			t.Errorf("%s has two keys", text)
		}
		seen[key] = text
	}
	if !DedupeKey("s", "stripe", nil).IsZero() {
		t.Error("no parts do not make the zero key")
	}
}

func TestP5_ADuplicateOfAnOpenMessageIsOpen(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		r.accept("a")
		settle(time.Second / 2)
		if v := r.accept("a").Verdict; v != store.DuplicateOpen {
			t.Errorf("duplicate of a waiting message is %s", v)
		}
	})
}

func TestP5_ADuplicateOfADeliveredMessageIsNotDeliveredAgain(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.accept("a")
		settle(time.Second)
		commits := 0
		r.store.accept.set(func([]store.Acceptance) error { commits++; return nil })
		if v := r.accept("a").Verdict; v != store.DuplicateDelivered {
			t.Errorf("duplicate is %s", v)
		}
		settle(time.Second)
		if r.upstream.count() != 1 || commits != 0 {
			t.Errorf("%d attempts, %d commits for the duplicate", r.upstream.count(), commits)
		}
	})
}

func TestP5_ADuplicateIsDeliveredAgainWhereThatIsAskedFor(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		id := r.accept("a").ID
		settle(time.Second)
		in := r.inbound("a")
		in.Redeliver = true
		receipt, err := r.Accept(t.Context(), in)
		if err != nil || receipt.Verdict != store.DuplicateRedelivered || receipt.ID != id {
			t.Errorf("got %+v, %v", receipt, err)
		}
		settle(time.Second)
		if r.upstream.count() != 2 || r.upstream.attempts[1].Delivery.ReplayOf != 1 {
			t.Errorf("%d attempts: %+v", r.upstream.count(), r.upstream.attempts)
		}
	})
}

func TestP5_ADuplicateOfADeadMessageReDrivesItOnce(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: retry.Rule{Policy: retry.Off()}}))
		id := r.accept("a").ID
		settle(time.Second)
		r.expect(id, store.Dead, 1)
		commit := make(chan struct{})
		r.store.accept.set(func([]store.Acceptance) error { <-commit; return nil })
		var verdicts [2]store.Verdict
		for i := range verdicts {
			go func() { verdicts[i] = r.accept("a").Verdict }()
			synctest.Wait()
		}
		close(commit)
		settle(time.Second)
		if want := [2]store.Verdict{store.DuplicateRedriven, store.DuplicateOpen}; verdicts != want {
			t.Errorf("verdicts are %v, want %v", verdicts, want)
		}
		r.expect(id, store.Dead, 2)
		if g := r.delivery(id).Generation; g != 1 {
			t.Errorf("generation is %d", g)
		}
	})
}

func TestP5_ADuplicateOfAPurgedMessageIsNotDelivered(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		id := r.accept("a").ID
		settle(2 * time.Hour) // the retention is one
		if _, err := r.store.Message(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("message is not purged: %v", err)
		}
		if receipt := r.accept("a"); receipt.Verdict != store.DuplicatePurged || receipt.ID != id {
			t.Errorf("got %+v", receipt)
		}
		settle(time.Second)
		if r.upstream.count() != 1 {
			t.Errorf("%d attempts", r.upstream.count())
		}
	})
}

func TestAcceptIsReportedOnceForEveryMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		seen := make(map[store.Verdict]int)
		r.Engine.observer = &counter{verdicts: seen}
		commit := make(chan struct{})
		r.store.accept.set(func([]store.Acceptance) error { <-commit; return nil })
		for range 3 {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_, _ = r.Accept(ctx, r.inbound("a"))
			}()
		}
		settle(2 * time.Second)
		if len(seen) > 0 {
			t.Errorf("%v reported before the commit", seen)
		}
		close(commit)
		settle(time.Second)
		r.accept("a")
		if seen[store.Fresh] != 1 || seen[store.DuplicateDelivered] != 1 || len(seen) != 2 {
			t.Errorf("reported %v", seen)
		}
		r.close()
	})
}

// TestAcceptThatEndsAtItsDeadlineIsReportedOnce has the commit and the sender's
// patience end at the same time, which either may be told of first.
func TestAcceptThatEndsAtItsDeadlineIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		seen := make(map[store.Verdict]int)
		r.Engine.observer = &counter{verdicts: seen}
		r.store.accept.set(func([]store.Acceptance) error { time.Sleep(time.Second); return nil })
		told := make(map[error]int)
		const messages = 200
		for i := range messages {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			receipt, err := r.Accept(ctx, r.inbound(fmt.Sprint(i)))
			cancel()
			if err == nil && receipt.Verdict != store.Fresh {
				t.Errorf("verdict %s", receipt.Verdict)
			}
			told[err]++
			settle(time.Second)
		}
		if told[nil]+told[ErrDeadline] != messages {
			t.Errorf("answered %v", told)
		}
		if seen[store.Fresh] != messages {
			t.Errorf("%d reported of %d", seen[store.Fresh], messages)
		}
		r.close()
	})
}

func TestAcceptIsReportedForEverySourceOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.accept("a0")
		settle(time.Second)
		seen := &counter{verdicts: make(map[store.Verdict]int), sources: make(map[string]int)}
		r.Engine.observer = seen
		r.current.Load().front.seen.Purge() // else nothing is committed for it
		commit := make(chan struct{})
		r.store.accept.set(func([]store.Acceptance) error { <-commit; return nil })
		var senders sync.WaitGroup
		for i, source := range []string{"s", "s", "t", "s", "t", "t"} {
			in := r.inbound(fmt.Sprintf("a%d", i))
			in.Message.Source = source
			senders.Go(func() {
				if _, err := r.Accept(t.Context(), in); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		close(commit)
		senders.Wait()
		if want := (map[string]int{"s": 3, "t": 3}); !maps.Equal(seen.sources, want) {
			t.Errorf("reported %v of %v", seen.sources, want)
		}
		if want := (map[store.Verdict]int{store.Fresh: 5, store.DuplicateDelivered: 1}); !maps.Equal(seen.verdicts, want) {
			t.Errorf("reported %v of %v", seen.verdicts, want)
		}
		r.close()
	})
}

// counter is an observer that counts.
type counter struct {
	nopObserver
	mu       sync.Mutex
	verdicts map[store.Verdict]int
	sources  map[string]int // nil where nobody asks
}

func (c *counter) Accepted(source string, v store.Verdict, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.verdicts[v] += n
	if c.sources != nil {
		c.sources[source] += n
	}
}
