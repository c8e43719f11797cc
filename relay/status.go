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

// DestinationStatus is how a destination is, with what the store knows of it.
type DestinationStatus struct {
	// Standing is how it stands with the dispatcher. Its Paused is what Pause says.
	Standing

	// InForce says that the destination is one of the configuration. The deliveries
	// of others stand still.
	InForce bool

	// Books are its books.
	Books store.Books

	// Pause is set while an operator has paused the destination.
	Pause *store.Pause

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
		statusOf(all, id).Books = b
	}
	s.dispatcher.describe(all)
	for id := range pauses {
		pause := pauses[id]
		status := statusOf(all, id)
		status.Pause, status.Paused = &pause, true
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
		all[id] = &DestinationStatus{Standing: Standing{Destination: id}}
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
		status.InForce, status.Standing = q.target != nil, q.standing()
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
		found, err := s.store.ListDeliveries(limited, store.DeliveryQuery{Destination: status.Destination, Open: true, Limit: 1})
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
