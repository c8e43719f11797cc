// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// DestinationStatus is how a destination is.
type DestinationStatus struct {
	// ID is the id of the destination.
	ID string

	// InForce says that the destination is one of the configuration. The deliveries
	// of others stand still.
	InForce bool

	// Books are its books.
	Books store.Books

	// Down says that the last attempts have found the destination down, so that it
	// is only probed.
	Down bool

	// Pause is set while an operator has paused the destination.
	Pause *store.Pause

	// Running is how many attempts are under way, Ready how many deliveries wait in
	// memory for their turn.
	Running int
	Ready   int

	// OldestOpen is when the oldest message was received that is still to be
	// delivered; zero for none, and where it could not be found in time.
	OldestOpen time.Time
}

// oldestTime bounds how long the oldest open deliveries may be looked for.
const oldestTime = 2 * time.Second

// Destinations tells how all destinations are that are in force or ever had a
// delivery, by id.
func (e *Engine) Destinations(ctx context.Context) ([]DestinationStatus, error) {
	s, err := e.ready(ctx)
	if err != nil {
		return nil, err
	}
	books, err := s.store.Books(ctx)
	if err != nil {
		return nil, s.failing("reading the books", err)
	}
	pauses, err := readPauses(ctx, s.store)
	if err != nil {
		return nil, s.failing("reading the pauses", err)
	}
	all := make(map[string]*DestinationStatus)
	for id, b := range books {
		all[id] = &DestinationStatus{ID: id, Books: b}
	}
	s.dispatcher.describe(all)
	for id := range pauses {
		pause := pauses[id]
		statusOf(all, id).Pause = &pause
	}
	list := make([]DestinationStatus, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		list = append(list, *all[id])
	}
	return list, s.findOldest(ctx, list)
}

// statusOf returns the status of a destination, to be filled in.
func statusOf(all map[string]*DestinationStatus, id string) *DestinationStatus {
	if all[id] == nil {
		all[id] = &DestinationStatus{ID: id}
	}
	return all[id]
}

// describe fills in what the scheduler knows.
func (d *dispatcher) describe(all map[string]*DestinationStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, q := range d.scheduler.queues {
		if q.target == nil && all[id] == nil {
			continue
		}
		status := statusOf(all, id)
		status.InForce = q.target != nil
		status.Down = q.breaker.open
		status.Running, status.Ready = q.running, q.waiting()
	}
}

// findOldest fills in when the oldest open messages were received, as far as that
// can be found in time.
func (s *session) findOldest(ctx context.Context, list []DestinationStatus) error {
	limited, cancel := context.WithTimeout(ctx, oldestTime)
	defer cancel()
	for i := range list {
		status := &list[i]
		if status.Books.Open == 0 {
			continue
		}
		found, err := s.store.ListDeliveries(limited, store.DeliveryQuery{Destination: status.ID, Open: true, Limit: 1})
		if limited.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("looking for the oldest delivery: %w", s.failing("looking for the oldest delivery", err))
		}
		if len(found) > 0 {
			status.OldestOpen = found[0].ID.Message.Time().UTC()
		}
	}
	return nil
}
