// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Accept stores a batch of messages in one commit.
func (s *Store) Accept(ctx context.Context, batch []store.Acceptance) ([]store.Accepted, error) {
	const doing = "accepting"
	end, err := s.begin(doing)
	if err != nil {
		return nil, err
	}
	defer end()
	answers := make([]store.Accepted, len(batch))
	deliveries := 0
	for i := range batch {
		deliveries += len(batch[i].Deliveries)
	}
	err = s.write(ctx, func(t *txn) error {
		t.room = make([]store.Delivery, deliveries)
		for i := range batch {
			if answers[i], err = t.accept(&batch[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, s.answer(doing, err)
	}
	return answers, nil
}

// write runs a transaction, and waits until it is durable. Where build fails
// nothing is changed.
func (s *Store) write(ctx context.Context, build func(*txn) error) error {
	c, err := s.apply(ctx, build)
	if err != nil {
		return err
	}
	return c.wait()
}

func (s *Store) apply(ctx context.Context, build func(*txn) error) (*commit, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	t := s.beginTxn()
	defer t.end()
	if err := build(t); err != nil {
		return nil, err
	}
	return t.commit(), nil
}

// accept carries out one acceptance.
func (t *txn) accept(a *store.Acceptance) (store.Accepted, error) {
	if a.Message == nil || a.Message.ID.IsZero() {
		return store.Accepted{}, fmt.Errorf("message without an id: %w", store.ErrInvalid)
	}
	id := a.Message.ID
	exists, err := t.exists(id)
	if err != nil {
		return store.Accepted{}, err
	}
	if exists {
		return store.Accepted{}, fmt.Errorf("message %s exists: %w", id, store.ErrInvalid)
	}
	o, ok, err := t.origin(a.Key)
	if err != nil {
		return store.Accepted{}, err
	}
	if ok && !t.s.age.outlived(o.acceptedAt, a.Window, t.now) {
		return t.duplicate(o, a.Redeliver)
	}
	t.put(a.Message)
	t.remember(a.Key, origin{message: id, acceptedAt: t.now})
	answer := store.Accepted{Verdict: store.Fresh, Message: id, AcceptedAt: t.now}
	if len(a.Deliveries) == 0 {
		t.track(change{dirty: true, Delivery: store.Delivery{ID: store.DeliveryID{Message: id}, CreatedAt: t.now}})
		return answer, nil
	}
	answer.Deliveries = t.answer(len(a.Deliveries))
	for i, n := range a.Deliveries {
		c, err := t.add(store.DeliveryID{Message: id, N: uint32(i + 1)}, n.Destination, int64(len(a.Message.Request.Body)))
		if err != nil {
			return store.Accepted{}, err
		}
		if n.OrderKey != "" {
			if err := t.join(c, n.OrderKey); err != nil {
				return store.Accepted{}, err
			}
		}
		if n.Lease > 0 && !c.Blocked() {
			t.s.grant(&c.Delivery, t.now.Add(n.Lease))
			c.bare = c.Place == 0
		}
		answer.Deliveries = append(answer.Deliveries, c.Delivery)
	}
	return answer, nil
}

// exists reports whether a message is stored. Ids grow, but for those of messages
// that come at the same time: most are seen at once to be larger than all that
// earlier transactions have stored.
func (t *txn) exists(id store.MessageID) (bool, error) {
	if bytes.Compare(id[:], t.newest[:]) > 0 {
		return false, nil
	}
	if _, ok := t.byID[store.DeliveryID{Message: id, N: 1}]; ok || t.made(id) {
		return true, nil
	}
	if bytes.Compare(id[:], t.s.newest[:]) > 0 {
		return false, nil
	}
	_, done, err := t.s.db.Get(appendMessageKey(nil, id))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, done.Close()
}

// answer returns the memory for the deliveries of one answer, from what all answers
// of the transaction share.
func (t *txn) answer(n int) []store.Delivery {
	if n > len(t.room) {
		return make([]store.Delivery, 0, n)
	}
	space := t.room[:0:n]
	t.room = t.room[n:]
	return space
}

// put writes a message and its listing keys. The body is copied once, into the
// batch.
func (t *txn) put(m *store.Message) {
	t.messages++
	t.scratch = appendHead(t.scratch[:0], m)
	var size [binary.MaxVarintLen64]byte
	prefix := binary.AppendUvarint(size[:0], uint64(len(t.scratch)))
	op := t.batch.SetDeferred(messageKey, len(prefix)+len(t.scratch)+len(m.Request.Body))
	appendMessageKey(op.Key[:0], m.ID)
	value := append(append(op.Value[:0], prefix...), t.scratch...)
	_ = append(value, m.Request.Body...)
	_ = op.Finish()
	t.list(m, func(key, value []byte) { _ = t.in(key[0]).Set(key, value, nil) })
	if bytes.Compare(m.ID[:], t.newest[:]) > 0 {
		t.newest = m.ID
	}
}

// duplicate answers an acceptance whose key is taken.
func (t *txn) duplicate(o origin, redeliver bool) (store.Accepted, error) {
	answer := store.Accepted{Message: o.message, AcceptedAt: o.acceptedAt, Verdict: store.DuplicateDelivered}
	all, err := t.deliveries(o.message)
	has := func(ok func(store.State) bool) bool {
		return slices.ContainsFunc(all, func(c *change) bool { return ok(c.State) })
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		answer.Verdict = store.DuplicatePurged
	case err != nil:
		return store.Accepted{}, err
	case has(store.State.Open):
		answer.Verdict = store.DuplicateOpen
	case has(isDead):
		answer.Verdict = store.DuplicateRedriven
		for _, c := range all {
			if c.State == store.Dead {
				t.redrive(c)
				answer.Deliveries = append(answer.Deliveries, c.Delivery)
			}
		}
	case redeliver && len(all) > 0:
		answer.Verdict = store.DuplicateRedelivered
		for _, destination := range destinations(all) {
			c, err := t.replay(o.message, all, destination)
			if err != nil {
				return store.Accepted{}, err
			}
			all = append(all, c)
			answer.Deliveries = append(answer.Deliveries, c.Delivery)
		}
	}
	return answer, nil
}

// destinations returns the destinations of deliveries in the order of the first
// delivery to each.
func destinations(all []*change) []string {
	var names []string
	for _, c := range all {
		if !slices.Contains(names, c.Destination) {
			names = append(names, c.Destination)
		}
	}
	return names
}

func isDead(state store.State) bool { return state == store.Dead }
