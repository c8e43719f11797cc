// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Claim leases deliveries of one destination that are due and held by nobody.
func (s *Store) Claim(_ context.Context, req store.ClaimRequest) (store.Claimed, error) {
	end, err := s.begin("claiming")
	if err != nil {
		return store.Claimed{}, err
	}
	defer end()
	if req.Limit < 1 {
		return store.Claimed{}, fmt.Errorf("claiming: limit %d: %w", req.Limit, store.ErrInvalid)
	}
	now := s.now()
	var ready []*store.Delivery
	for _, d := range s.open[req.Destination] {
		if !dueAt(d).After(now) {
			ready = append(ready, d)
		}
	}
	slices.SortFunc(ready, func(a, b *store.Delivery) int {
		return cmp.Or(dueAt(a).Compare(dueAt(b)), compareIDs(a.ID, b.ID))
	})
	claimed := store.Claimed{More: len(ready) > req.Limit}
	for _, d := range ready[:min(len(ready), req.Limit)] {
		s.lease(d, now.Add(req.Lease), now)
		claimed.Deliveries = append(claimed.Deliveries, *d)
	}
	if !claimed.More {
		claimed.Next = s.next(req.Destination)
	}
	return claimed, nil
}

// ClaimByID leases one delivery that is open and held by nobody.
func (s *Store) ClaimByID(_ context.Context, id store.DeliveryID, lease time.Duration) (store.Delivery, error) {
	end, err := s.begin("claiming")
	if err != nil {
		return store.Delivery{}, err
	}
	defer end()
	_, d, err := s.delivery(id)
	if err != nil {
		return store.Delivery{}, fmt.Errorf("claiming: %w", err)
	}
	now := s.now()
	if !d.State.Open() || d.Blocked() || d.State == store.Leased && d.LeaseUntil.After(now) {
		return store.Delivery{}, fmt.Errorf("claiming: %s delivery %s: %w", d.State, id, store.ErrState)
	}
	s.lease(d, now.Add(lease), now)
	return *d, nil
}

// Hasten makes deliveries that are waiting due now.
func (s *Store) Hasten(_ context.Context, destination string, limit int) (int, error) {
	end, err := s.begin("hastening")
	if err != nil {
		return 0, err
	}
	defer end()
	if limit < 1 {
		return 0, fmt.Errorf("hastening: limit %d: %w", limit, store.ErrInvalid)
	}
	now := s.now()
	var waiting []*store.Delivery
	for _, d := range s.open[destination] {
		if d.State == store.Waiting && d.DueAt.After(now) {
			waiting = append(waiting, d)
		}
	}
	slices.SortFunc(waiting, func(a, b *store.Delivery) int {
		return cmp.Or(a.DueAt.Compare(b.DueAt), compareIDs(a.ID, b.ID))
	})
	waiting = waiting[:min(len(waiting), limit)]
	for _, d := range waiting {
		d.DueAt = now
	}
	return len(waiting), nil
}

// next returns when the next delivery of a destination can be claimed.
func (s *Store) next(destination string) time.Time {
	var next time.Time
	for _, d := range s.open[destination] {
		if due := dueAt(d); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next
}

// dueAt returns when an open delivery can be claimed.
func dueAt(d *store.Delivery) time.Time {
	if d.State == store.Leased {
		return d.LeaseUntil
	}
	return d.DueAt
}

func compareIDs(a, b store.DeliveryID) int {
	return cmp.Or(bytes.Compare(a.Message[:], b.Message[:]), cmp.Compare(a.N, b.N))
}

// Extend moves the end of leases, and returns those that were lost.
func (s *Store) Extend(_ context.Context, leases []store.Lease, d time.Duration) ([]store.Lease, error) {
	end, err := s.begin("extending leases")
	if err != nil {
		return nil, err
	}
	defer end()
	until := s.now().Add(d)
	var lost []store.Lease
	for _, l := range leases {
		_, d, err := s.delivery(l.Delivery)
		if err != nil || !holds(l, d) {
			lost = append(lost, l)
			continue
		}
		d.LeaseUntil = until
	}
	return lost, nil
}

// holds reports whether a lease is the one under which d is held. Only a newer
// lease or the end of the delivery takes it away, not the passing of time.
func holds(l store.Lease, d *store.Delivery) bool {
	return d.State == store.Leased && d.Epoch == l.Epoch
}
