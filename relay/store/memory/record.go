// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// record is a message with all that hangs on it.
type record struct {
	message    *store.Message
	acceptedAt time.Time
	deliveries []*store.Delivery
	attempts   [][]store.Attempt
}

// origin is what a dedupe key stands for.
type origin struct {
	message    store.MessageID
	acceptedAt time.Time
}

// has reports whether a delivery of the message is in a state that ok takes.
func (r *record) has(ok func(store.State) bool) bool {
	return slices.ContainsFunc(r.deliveries, func(d *store.Delivery) bool { return ok(d.State) })
}

// endedAt returns when the message's last delivery ended, or when the message
// was accepted if it has none.
func (r *record) endedAt() time.Time {
	last := r.acceptedAt
	for _, d := range r.deliveries {
		if d.EndedAt.After(last) {
			last = d.EndedAt
		}
	}
	return last
}

// record returns what is kept of a message.
func (s *Store) record(id store.MessageID) (*record, error) {
	r, ok := s.messages[id]
	if !ok {
		return nil, fmt.Errorf("message %s: %w", id, store.ErrNotFound)
	}
	return r, nil
}

// delivery returns a delivery and the record it belongs to.
func (s *Store) delivery(id store.DeliveryID) (*record, *store.Delivery, error) {
	r, ok := s.messages[id.Message]
	if !ok || id.N == 0 || int(id.N) > len(r.deliveries) {
		return nil, nil, fmt.Errorf("delivery %s: %w", id, store.ErrNotFound)
	}
	return r, r.deliveries[id.N-1], nil
}

// add makes the next delivery of a message, pending and due now.
func (s *Store) add(r *record, destination string, now time.Time) *store.Delivery {
	d := &store.Delivery{
		ID:          store.DeliveryID{Message: r.message.ID, N: uint32(len(r.deliveries) + 1)},
		Destination: destination,
		State:       store.Pending,
		DueAt:       now,
		CreatedAt:   now,
		Since:       now,
		BodySize:    int64(len(r.message.Request.Body)),
	}
	r.deliveries = append(r.deliveries, d)
	r.attempts = append(r.attempts, nil)
	s.book(destination).Move(0, d.State, d.BodySize)
	s.index(d)
	return d
}

// move puts a delivery into a state, and keeps its times, the books and the
// index in step.
func (s *Store) move(d *store.Delivery, to store.State, now time.Time) {
	s.book(d.Destination).Move(d.State, to, d.BodySize)
	d.State = to
	d.EndedAt = time.Time{}
	if to != store.Leased {
		d.LeaseUntil = time.Time{}
	}
	if to.Final() {
		d.DueAt = time.Time{}
		d.EndedAt = now
	}
	s.index(d)
}

// lease gives a delivery to whoever asked for it.
func (s *Store) lease(d *store.Delivery, until, now time.Time) {
	s.move(d, store.Leased, now)
	d.Epoch++
	d.LeaseUntil = until
}

// index keeps a delivery among the open ones of its destination while it is one
// that is not blocked.
func (s *Store) index(d *store.Delivery) {
	if !d.State.Open() || d.Blocked() {
		delete(s.open[d.Destination], d.ID)
		return
	}
	if s.open[d.Destination] == nil {
		s.open[d.Destination] = make(map[store.DeliveryID]*store.Delivery)
	}
	s.open[d.Destination][d.ID] = d
}

// remove forgets a message, its deliveries and attempts.
func (s *Store) remove(r *record) {
	for _, d := range r.deliveries {
		delete(s.open[d.Destination], d.ID)
	}
	delete(s.messages, r.message.ID)
}

// cloneMessage copies a message with all that it refers to.
func cloneMessage(m *store.Message) *store.Message {
	c := *m
	c.Request.Header = m.Request.Header.Clone()
	c.Request.Body = bytes.Clone(m.Request.Body)
	return &c
}
