// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Message returns a message.
func (s *Store) Message(_ context.Context, id store.MessageID) (*store.Message, error) {
	end, err := s.begin("reading message")
	if err != nil {
		return nil, err
	}
	defer end()
	r, err := s.record(id)
	if err != nil {
		return nil, fmt.Errorf("reading message: %w", err)
	}
	return cloneMessage(r.message), nil
}

// Deliveries returns the deliveries of a message by number.
func (s *Store) Deliveries(_ context.Context, id store.MessageID) ([]store.Delivery, error) {
	end, err := s.begin("reading deliveries")
	if err != nil {
		return nil, err
	}
	defer end()
	r, err := s.record(id)
	if err != nil {
		return nil, fmt.Errorf("reading deliveries: %w", err)
	}
	all := make([]store.Delivery, 0, len(r.deliveries))
	for _, d := range r.deliveries {
		all = append(all, *d)
	}
	return all, nil
}

// Attempts returns the recorded attempts of a delivery, oldest first.
func (s *Store) Attempts(_ context.Context, id store.DeliveryID) ([]store.Attempt, error) {
	end, err := s.begin("reading attempts")
	if err != nil {
		return nil, err
	}
	defer end()
	r, _, err := s.delivery(id)
	if err != nil {
		return nil, fmt.Errorf("reading attempts: %w", err)
	}
	all := slices.Clone(r.attempts[id.N-1])
	for i := range all {
		all[i].Head = bytes.Clone(all[i].Head)
	}
	return all, nil
}

// ListMessages returns messages without their bodies, newest first.
func (s *Store) ListMessages(_ context.Context, q store.MessageQuery) ([]store.Message, error) {
	end, err := s.begin("listing messages")
	if err != nil {
		return nil, err
	}
	defer end()
	if q.Limit < 1 {
		return nil, fmt.Errorf("listing messages: limit %d: %w", q.Limit, store.ErrInvalid)
	}
	var found []store.Message
	for _, r := range s.messages {
		if selects(&q, r.message) {
			m := *r.message
			m.Request.Header = m.Request.Header.Clone()
			m.Request.Body = nil
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(a, b store.Message) int { return bytes.Compare(b.ID[:], a.ID[:]) })
	return found[:min(len(found), q.Limit)], nil
}

func selects(q *store.MessageQuery, m *store.Message) bool {
	return (q.Source == "" || q.Source == m.Source) &&
		(q.Type == "" || q.Type == m.Type) &&
		(q.EventID == "" || q.EventID == m.EventID) &&
		(q.Tenant == "" || q.Tenant == m.Tenant) &&
		within(m.ReceivedAt, q.From, q.To) &&
		(q.Before.IsZero() || bytes.Compare(m.ID[:], q.Before[:]) < 0)
}

// ListDeliveries returns deliveries by id.
func (s *Store) ListDeliveries(_ context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	end, err := s.begin("listing deliveries")
	if err != nil {
		return nil, err
	}
	defer end()
	if q.Limit < 1 {
		return nil, fmt.Errorf("listing deliveries: limit %d: %w", q.Limit, store.ErrInvalid)
	}
	var found []store.Delivery
	for _, r := range s.messages {
		for _, d := range r.deliveries {
			if selectsDelivery(&q, r.message, d) {
				found = append(found, *d)
			}
		}
	}
	slices.SortFunc(found, func(a, b store.Delivery) int { return compareIDs(a.ID, b.ID) })
	return found[:min(len(found), q.Limit)], nil
}

func selectsDelivery(q *store.DeliveryQuery, m *store.Message, d *store.Delivery) bool {
	return (q.Destination == "" || q.Destination == d.Destination) &&
		(q.State == 0 || q.State == d.State) &&
		(!q.Open || d.State.Open()) &&
		(q.Source == "" || q.Source == m.Source) &&
		(q.Type == "" || q.Type == m.Type) &&
		(q.EventID == "" || q.EventID == m.EventID) &&
		within(d.ID.Message.Time(), q.From, q.To) &&
		compareIDs(d.ID, q.After) > 0
}

// within reports whether t is in a period whose ends may be open.
func within(t, from, to time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (to.IsZero() || t.Before(to))
}
