// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// pausePage is how many pauses are read from the store at once.
const pausePage = 256

// Pause holds the deliveries of a destination back until Resume, over restarts
// and reconfigurations: attempts under way end as they would, no other is
// started, not even a probe, and nothing is lost. Messages for the destination
// are accepted as before. The reason is kept for other operators to read. A
// destination that is paused already stays so since when it was, and takes the new
// reason unless that is empty; before is its pause as it was then, nil for none. It
// returns ErrNoDestination for one that is not in force and never had a delivery.
func (e *Engine) Pause(ctx context.Context, destination, reason string) (before *store.Pause, err error) {
	err = e.turnPause(ctx, destination, func(st store.Store) error {
		err := store.ErrConflict
		for errors.Is(err, store.ErrConflict) && ctx.Err() == nil { // another is as fast
			before, err = putPause(ctx, st, destination, reason)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pausing destination %q: %w", destination, err)
	}
	e.log.Info("destination has been paused", zap.String("destination", destination), zap.String("reason", reason))
	return before, nil
}

// putPause keeps a pause, and returns the one that there was before, nil for none.
func putPause(ctx context.Context, st store.Store, destination, reason string) (before *store.Pause, err error) {
	pause := &store.Pause{Destination: destination, Reason: reason}
	switch e, err := st.Entity(ctx, pause.Key()); {
	case errors.Is(err, store.ErrNotFound):
		return nil, st.PutEntity(ctx, pause)
	case errors.Is(err, store.ErrCorrupt):
		return nil, fmt.Errorf("it is paused, and why can not be read; resume it, then pause it anew: %w", err)
	case err != nil:
		return nil, err
	default:
		before, _ = e.(*store.Pause)
	}
	if before == nil || reason == "" || reason == before.Reason {
		return before, nil
	}
	pause.EntityMeta = before.EntityMeta
	return before, st.PutEntity(ctx, pause)
}

// Resume ends a pause: what is due is delivered at once, within the limits of
// the destination. Resuming a destination that is not paused changes nothing. It
// returns ErrNoDestination for one that is not in force and never had a delivery.
func (e *Engine) Resume(ctx context.Context, destination string) error {
	err := e.turnPause(ctx, destination, func(st store.Store) error {
		pause := store.Pause{Destination: destination}
		err := st.DeleteEntity(ctx, pause.Key())
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("resuming destination %q: %w", destination, err)
	}
	e.log.Info("destination has been resumed", zap.String("destination", destination))
	return nil
}

// turnPause changes in the store whether a destination is paused, and tells the
// dispatcher.
func (e *Engine) turnPause(ctx context.Context, destination string, change func(store.Store) error) error {
	s, err := e.known(ctx, destination)
	if err != nil {
		return err
	}
	if err := change(s.store); err != nil {
		return s.failing("changing a pause", err)
	}
	return s.failing("reading a pause", s.followPause(context.WithoutCancel(ctx), destination))
}

// followPause has the dispatcher follow a change of a pause that was committed. Of
// several at once the last tells it what the store says, which it reads after all
// of them.
func (s *session) followPause(ctx context.Context, destination string) error {
	p := &s.pauses
	p.mu.Lock()
	p.changes[destination]++
	mine := p.changes[destination]
	p.mu.Unlock()
	pause := store.Pause{Destination: destination}
	_, err := s.store.Entity(ctx, pause.Key())
	kind := paused
	switch {
	case errors.Is(err, store.ErrNotFound):
		kind, err = resumed, nil
	case errors.Is(err, store.ErrCorrupt): // what can be read of it is that it is there
		err = nil
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changes[destination] == mine {
		s.dispatcher.post(event{kind: kind, destination: destination})
	}
	return nil
}

// pauses count how often the pause of a destination was changed in this session.
type pauses struct {
	mu      sync.Mutex
	changes map[string]uint64
}

// Pauses returns the pauses in force by the id of their destination.
func (e *Engine) Pauses(ctx context.Context) (map[string]store.Pause, error) {
	s, err := e.ready(ctx)
	if err != nil {
		return nil, err
	}
	return readPauses(ctx, s.store)
}

// known returns the session if the destination is in force, is paused, or ever
// had a delivery.
func (e *Engine) known(ctx context.Context, destination string) (*session, error) {
	s, err := e.ready(ctx)
	if err != nil {
		return nil, err
	}
	if g := e.inForce(); g != nil {
		for i := range g.Destinations {
			if g.Destinations[i].ID == destination {
				return s, nil
			}
		}
	}
	books, err := s.store.Books(ctx)
	if err != nil {
		return nil, err
	}
	if _, ok := books[destination]; ok {
		return s, nil
	}
	pause := store.Pause{Destination: destination}
	switch _, err = s.store.Entity(ctx, pause.Key()); {
	case errors.Is(err, store.ErrNotFound):
		return nil, ErrNoDestination
	case err != nil && !errors.Is(err, store.ErrCorrupt):
		return nil, err
	}
	return s, nil
}

// readPauses reads all pauses from a store.
func readPauses(ctx context.Context, st store.Store) (map[string]store.Pause, error) {
	pauses := make(map[string]store.Pause)
	q := store.EntityQuery{Kind: store.KindPause, Limit: pausePage}
	for {
		page, err := st.ListEntities(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("reading which destinations are paused: %w", err)
		}
		for _, e := range page {
			switch e := e.(type) {
			case *store.Pause:
				pauses[e.Destination] = *e
			case *store.Illegible: // what can be read of it is that it is there
				pauses[e.ID] = store.Pause{Destination: e.ID, Reason: "since when and why can not be read"}
			}
			q.After = e.Key().ID
		}
		if len(page) < q.Limit {
			return pauses, nil
		}
	}
}

// pauseAll tells the dispatcher of a new session what is paused.
func (s *session) pauseAll(pauses map[string]store.Pause) {
	for _, destination := range slices.Sorted(maps.Keys(pauses)) {
		pause := pauses[destination]
		s.engine.log.Warn("destination is paused: nothing is delivered to it until it is resumed",
			zap.String("destination", destination), zap.Time("since", pause.CreatedAt), zap.String("reason", pause.Reason))
		s.dispatcher.post(event{kind: paused, destination: destination})
	}
}
