// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

// machine runs the same random operations on a store and on the model, and fails
// where anything differs that a caller can see. Epochs and places may differ: the
// contract says only that they grow.
type machine struct {
	ctx   context.Context
	clock *clock
	ids   *idSource

	model  store.Store
	tested store.Store
	reopen func() store.Store

	// messages are the ids of all messages ever accepted.
	messages []store.MessageID

	// leases are those ever given, lost ones too, newest last.
	leases []leasePair

	// budget is by how much the clock may still move before the next leap, so that
	// every key is surely in its window or surely out of it.
	budget time.Duration
}

// leasePair is one lease as the two stores know it.
type leasePair struct{ model, tested store.Lease }

const (
	// keptLeases is how many leases the machine remembers.
	keptLeases = 24
	// longestLease bounds every lease that the machine takes.
	longestLease = time.Minute
	// everything is a limit that nothing reaches.
	everything = 100_000
)

var machineDestinations = []string{"a", "ab", "b"}

// runMachine runs the state machine against fresh stores. Its length is set by
// the flags -rapid.checks and -rapid.steps.
func runMachine(t *testing.T, f Factory) {
	t.Helper()
	rapid.Check(t, func(r *rapid.T) {
		c := newClock()
		b := f(t, c.Now)
		m := &machine{
			ctx: t.Context(), clock: c, ids: &idSource{clock: c},
			model: memory.New(memory.Options{Now: c.Now}), tested: b.Store, reopen: b.Reopen,
			budget: window - time.Hour,
		}
		defer func() {
			if err := m.tested.Close(); err != nil {
				r.Errorf("closing store: %v", err)
			}
		}()
		r.Repeat(m.actions())
		m.compareAll(r)
	})
}

// actions returns the operations of the machine by name.
func (m *machine) actions() map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){
		"Accept":         m.accept,
		"AcceptMore":     m.accept,
		"Claim":          m.claim,
		"Hasten":         m.hasten,
		"ClaimByID":      m.claimByID,
		"ClaimMore":      m.claim,
		"Extend":         m.extend,
		"Finish":         m.finish,
		"FinishMore":     m.finish,
		"FinishEvenMore": m.finish,
		"Redrive":        m.redrive,
		"Replay":         m.replay,
		"Cancel":         m.cancel,
		"Delete":         m.delete,
		"Operate":        m.operate,
		"Purge":          m.purge,
		"Recall":         m.recall,
		"Remember":       m.rememberKey,
		"Wait":           m.wait,
		"Leap":           m.leap,
		"List":           m.list,
		"CompareAll":     m.compareAll,
		"PutEntity":      m.putEntity,
		"DeleteEntity":   m.deleteEntity,
		"ListEntities":   m.listEntities,
		"":               m.compareBooks,
	}
	if m.reopen != nil {
		actions["Reopen"] = m.restart
	}
	return actions
}

// wait moves the clock a little.
func (m *machine) wait(r *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{
		time.Millisecond, time.Second, 5 * time.Second, lease, time.Hour, 9 * time.Hour,
	}).Draw(r, "duration")
	if d > m.budget {
		r.Skip("the clock has moved far enough")
	}
	m.budget -= d
	m.clock.advance(d)
}

// leap moves the clock until every key has expired.
func (m *machine) leap(*rapid.T) {
	m.clock.advance(window + grace + time.Hour)
	m.budget = window - time.Hour
}

// restart opens the tested store again. Leases end for both, by time where not
// at once, and all that is due is claimed again.
func (m *machine) restart(r *rapid.T) {
	if longestLease > m.budget {
		r.Skip("the clock has moved far enough")
	}
	m.sign(r)
	m.tested = m.reopen()
	m.leases = nil
	m.clock.advance(longestLease)
	m.budget -= longestLease
	for _, destination := range machineDestinations {
		m.claimAll(r, destination)
	}
}

// sign accepts a message, so that the store has seen what time it is: it may let
// things stay by the time that has passed since then unseen.
func (m *machine) sign(r *rapid.T) {
	a := store.Acceptance{Message: m.ids.message("clock"), Window: window}
	m.messages = append(m.messages, a.Message.ID)
	want, failed := m.model.Accept(m.ctx, []store.Acceptance{a})
	got, err := m.tested.Accept(m.ctx, []store.Acceptance{a})
	sameError(r, err, failed)
	m.compareAccepted(r, got, want)
}

// remember keeps the leases of deliveries that both stores have just leased.
func (m *machine) remember(model, tested []store.Delivery) {
	for i := range model {
		if model[i].State == store.Leased {
			m.leases = append(m.leases, leasePair{model: model[i].Lease(), tested: tested[i].Lease()})
		}
	}
	if extra := len(m.leases) - keptLeases; extra > 0 {
		m.leases = slices.Delete(m.leases, 0, extra)
	}
}

// compareBooks compares the books and the list of all deliveries.
func (m *machine) compareBooks(r *rapid.T) {
	want, failed := m.model.Books(m.ctx)
	got, err := m.tested.Books(m.ctx)
	sameError(r, err, failed)
	same(r, "books", got, want)
	open, failed := m.model.ListDeliveries(m.ctx, store.DeliveryQuery{Open: true, Limit: everything})
	sameError(r, failed, nil)
	checkOpenBytes(r, got, open)
	m.compareDeliveries(r, store.DeliveryQuery{Limit: everything})
}

// compareAll compares all messages with their deliveries and attempts.
func (m *machine) compareAll(r *rapid.T) {
	m.compareBooks(r)
	m.compareMessages(r, store.MessageQuery{Limit: everything})
	for _, id := range m.messages {
		message, failed := m.model.Message(m.ctx, id)
		got, err := m.tested.Message(m.ctx, id)
		if sameError(r, err, failed); err == nil {
			same(r, "message", plainMessage(*got), plainMessage(*message))
		}
		deliveries, failed := m.model.Deliveries(m.ctx, id)
		gotDeliveries, err := m.tested.Deliveries(m.ctx, id)
		sameError(r, err, failed)
		same(r, "deliveries of a message", unfenced(gotDeliveries), unfenced(deliveries))
		for _, d := range deliveries {
			attempts, failed := m.model.Attempts(m.ctx, d.ID)
			gotAttempts, err := m.tested.Attempts(m.ctx, d.ID)
			sameError(r, err, failed)
			same(r, "attempts", plainAttempts(gotAttempts), plainAttempts(attempts))
		}
	}
}

func (m *machine) compareDeliveries(r *rapid.T, q store.DeliveryQuery) {
	want, failed := m.model.ListDeliveries(m.ctx, q)
	got, err := m.tested.ListDeliveries(m.ctx, q)
	sameError(r, err, failed)
	same(r, "listed deliveries", unfenced(got), unfenced(want))
}

func (m *machine) compareMessages(r *rapid.T, q store.MessageQuery) {
	want, failed := m.model.ListMessages(m.ctx, q)
	got, err := m.tested.ListMessages(m.ctx, q)
	sameError(r, err, failed)
	same(r, "listed messages", plainMessages(got), plainMessages(want))
}

// unfenced returns deliveries as the machine compares them.
func unfenced(all []store.Delivery) []store.Delivery {
	plain := plainDeliveries(all)
	for i := range plain {
		plain[i].Epoch = 0
		plain[i].Place = min(plain[i].Place, 1)
	}
	return plain
}

func unfencedAccepted(all []store.Accepted) []store.Accepted {
	plain := make([]store.Accepted, 0, len(all))
	for _, a := range all {
		a.AcceptedAt = instant(a.AcceptedAt)
		a.Deliveries = unfenced(a.Deliveries)
		plain = append(plain, a)
	}
	return plain
}

func sortByID(all []store.Delivery) {
	slices.SortFunc(all, func(a, b store.Delivery) int {
		return cmp.Or(slices.Compare(a.ID.Message[:], b.ID.Message[:]), cmp.Compare(a.ID.N, b.ID.N))
	})
}

// sameError fails the test where two errors do not wrap the same of the store's
// errors.
func sameError(r reporter, got, want error) {
	r.Helper()
	if g, w := kindOf(got), kindOf(want); g != w {
		r.Fatalf("error is %v, want one like %v", got, want)
	}
}

func kindOf(err error) string {
	if err == nil {
		return ""
	}
	for _, target := range []error{store.ErrNotFound, store.ErrLeaseLost, store.ErrState, store.ErrConflict, store.ErrInvalid} {
		if errors.Is(err, target) {
			return target.Error()
		}
	}
	return fmt.Sprintf("none of the store's: %v", err)
}
