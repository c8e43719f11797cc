// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// removed reports whether a message is not stored any more.
func (r *rig) removed(id store.MessageID) bool {
	r.t.Helper()
	_, err := r.store.Message(r.t.Context(), id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		r.t.Fatal(err)
	}
	return err != nil
}

// ended accepts messages that have come to all ends that deliveries to d and e can
// have, the last to be open at e, and returns them by name.
func (r *rig) ended(e *upstream) map[string]store.MessageID {
	r.t.Helper()
	messages := make(map[string]store.MessageID)
	for _, c := range []struct {
		name       string
		d, e       bool // to be killed there
		open, both bool
	}{
		{name: "delivered"},
		{name: "dead", d: true},
		{name: "delivered to both", both: true},
		{name: "dead elsewhere", e: true, both: true},
		{name: "dead at both", d: true, e: true, both: true},
		{name: "open elsewhere", both: true, open: true},
	} {
		r.upstream.set(nil)
		e.set(nil)
		if c.d {
			r.upstream.set(kills)
		}
		if c.e {
			e.set(kills)
		}
		if c.open {
			r.pause("e")
		}
		to := []string{"d"}
		if c.both {
			to = append(to, "e")
		}
		messages[c.name] = r.accept(c.name, to...).ID
		settle(time.Minute)
	}
	return messages
}

func TestAJobDeletesNoMessageThatMayStillBeDelivered(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		e := r.twoDestinations()
		messages := r.ended(e)
		before, _ := r.Books(t.Context())
		for _, c := range []struct {
			query store.DeliveryQuery
			gone  []string
		}{
			{store.DeliveryQuery{Destination: "d", State: store.Dead}, []string{"dead"}},
			{store.DeliveryQuery{Destination: "d"}, []string{"delivered", "delivered to both"}},
			{store.DeliveryQuery{Source: "s", State: store.Delivered}, nil},
			{store.DeliveryQuery{Source: "s", Type: "none"}, nil},
			{store.DeliveryQuery{Source: "s"}, []string{"dead elsewhere", "dead at both"}},
		} {
			req := JobRequest{Action: store.ActionDelete, Query: c.query}
			if n := r.count(req); n != uint64(len(c.gone)) {
				t.Errorf("%+v: dry run counts %d, want %d", c.query, n, len(c.gone))
			}
			job := r.start(req)
			settle(time.Minute)
			r.expectJob(job.ID, store.JobDone, uint64(len(c.gone)), 0)
			for _, name := range c.gone {
				if !r.removed(messages[name]) {
					t.Errorf("%+v: %s is still there", c.query, name)
				}
				delete(messages, name)
			}
			for name, id := range messages {
				if r.removed(id) {
					t.Fatalf("%+v: %s is gone", c.query, name)
				}
			}
		}
		books, _ := r.Books(t.Context())
		if d := books["d"]; d.Deleted != before["d"].Made-1 || books["e"].Open != 1 {
			t.Errorf("books are %+v, before %+v", books, before)
		}
		r.resume("e")
		settle(time.Minute)
	})
}

// TestAJobDoesNotDeleteWhatIsRedrivenMeanwhile has an operator be faster than the
// commit.
func TestAJobDoesNotDeleteWhatIsRedrivenMeanwhile(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(3)
		var saved store.MessageID
		r.store.operate.set(func(batch []store.Operation) error {
			saved = batch[1].Delivery.Message
			_, err := r.store.Store.Redrive(t.Context(), batch[1].Delivery)
			return err
		})
		job := r.start(JobRequest{Action: store.ActionDelete, Query: store.DeliveryQuery{Source: "s"}})
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, 2, 1)
		if r.removed(saved) {
			t.Error("a message is gone that was about to be delivered")
		}
	})
}

// TestAJobLooksAtAMessageAgainAfterAPage has the last message of a page get another
// delivery, which dies, before the rest of it is looked at.
func TestAJobLooksAtAMessageAgainAfterAPage(t *testing.T) {
	bubble(t, kills, func(t *testing.T, r *rig) {
		r.twoDestinations().set(kills)
		id := r.accept("a", "d", "d").ID
		settle(time.Minute)
		r.store.list.set(func(q store.DeliveryQuery) error {
			if q.After.N == 1 {
				if _, err := r.Replay(t.Context(), id, "e"); err != nil {
					t.Error(err)
				}
				settle(time.Second)
			}
			return nil
		})
		job := r.start(JobRequest{Action: store.ActionDelete, Query: store.DeliveryQuery{Destination: "d"}, Rate: 1})
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, 0, 0)
		if r.removed(id) {
			t.Error("a message is gone that has a dead delivery, which was not selected")
		}
	})
}

func TestADuplicateOfWhatAJobDeletedIsDropped(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(3)
		job := r.start(JobRequest{Action: store.ActionDelete, Query: store.DeliveryQuery{State: store.Dead, Source: "s"}})
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, 3, 0)
		if got := r.accept(fmt.Sprint(1)); got.Verdict != store.DuplicatePurged {
			t.Errorf("a duplicate is %v", got.Verdict)
		}
		settle(time.Minute)
		if n := r.upstream.count(); n != 3 {
			t.Errorf("%d attempts", n)
		}
	})
}

func TestAJobThatDeletesWhatHoldsALaneReleasesIt(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream, Hold: true}))
		ordered := func(body string) store.MessageID {
			in := r.inbound(body)
			in.Targets[0].OrderKey = "k"
			receipt, err := r.Accept(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			settle(time.Minute)
			return receipt.ID
		}
		r.upstream.set(kills)
		ordered("first")
		r.upstream.set(nil)
		second := ordered("second")
		r.expect(second, store.Pending, 0)
		job := r.start(JobRequest{Action: store.ActionDelete, Query: store.DeliveryQuery{State: store.Dead, Source: "s"}})
		settle(time.Second)
		r.expectJob(job.ID, store.JobDone, 1, 0)
		r.expect(second, store.Delivered, 1)
	})
}
