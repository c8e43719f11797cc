// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Accept stores a batch of messages, all or none.
func (s *Store) Accept(_ context.Context, batch []store.Acceptance) ([]store.Accepted, error) {
	end, err := s.begin("accepting")
	if err != nil {
		return nil, err
	}
	defer end()
	if err := s.check(slices.Values(batch)); err != nil {
		return nil, fmt.Errorf("accepting: %w", err)
	}
	answers := make([]store.Accepted, 0, len(batch))
	now := s.now()
	for i := range batch {
		answers = append(answers, s.accept(&batch[i], now))
	}
	return answers, nil
}

// check reports why one of the acceptances can not be carried out.
func (s *Store) check(batch func(yield func(store.Acceptance) bool)) error {
	seen := make(map[store.MessageID]bool)
	for a := range batch {
		if a.Message == nil || a.Message.ID.IsZero() {
			return fmt.Errorf("message without an id: %w", store.ErrInvalid)
		}
		id := a.Message.ID
		if _, stored := s.messages[id]; stored || seen[id] {
			return fmt.Errorf("message %s exists: %w", id, store.ErrInvalid)
		}
		seen[id] = true
		for _, n := range a.Deliveries {
			if len(n.OrderKey) > store.MaxOrderKey {
				return fmt.Errorf("order key of %d bytes, at most %d: %w", len(n.OrderKey), store.MaxOrderKey, store.ErrInvalid)
			}
		}
	}
	return nil
}

// accept carries out one acceptance, which has been checked.
func (s *Store) accept(a *store.Acceptance, now time.Time) store.Accepted {
	if o, ok := s.keys[a.Key]; ok && now.Before(o.acceptedAt.Add(a.Window)) {
		return s.duplicate(o, a.Redeliver, now)
	}
	r := &record{message: cloneMessage(a.Message), acceptedAt: now}
	s.messages[r.message.ID] = r
	if !a.Key.IsZero() {
		s.keys[a.Key] = origin{message: r.message.ID, acceptedAt: now}
	}
	answer := store.Accepted{Verdict: store.Fresh, Message: r.message.ID, AcceptedAt: now}
	for _, n := range a.Deliveries {
		d := s.add(r, n.Destination, now)
		s.join(d, n.OrderKey)
		if n.Lease > 0 && !d.Blocked() {
			s.lease(d, now.Add(n.Lease), now)
		}
		answer.Deliveries = append(answer.Deliveries, *d)
	}
	return answer
}

// duplicate answers an acceptance whose key is taken.
func (s *Store) duplicate(o origin, redeliver bool, now time.Time) store.Accepted {
	answer := store.Accepted{Message: o.message, AcceptedAt: o.acceptedAt}
	r, ok := s.messages[o.message]
	switch {
	case !ok:
		answer.Verdict = store.DuplicatePurged
	case r.has(store.State.Open):
		answer.Verdict = store.DuplicateOpen
	case r.has(isDead):
		answer.Verdict = store.DuplicateRedriven
		for _, d := range r.deliveries {
			if isDead(d.State) {
				s.redrive(d, now)
				answer.Deliveries = append(answer.Deliveries, *d)
			}
		}
	case redeliver && len(r.deliveries) > 0:
		answer.Verdict = store.DuplicateRedelivered
		for _, destination := range r.destinations() {
			answer.Deliveries = append(answer.Deliveries, *s.replay(r, destination, now))
		}
	default:
		answer.Verdict = store.DuplicateDelivered
	}
	return answer
}

// destinations returns the destinations of the message in the order of the first
// delivery to each.
func (r *record) destinations() []string {
	var all []string
	for _, d := range r.deliveries {
		if !slices.Contains(all, d.Destination) {
			all = append(all, d.Destination)
		}
	}
	return all
}

func isDead(state store.State) bool { return state == store.Dead }
