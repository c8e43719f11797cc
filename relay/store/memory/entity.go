// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// PutEntity stores an entity.
func (s *Store) PutEntity(_ context.Context, e store.Entity) error {
	end, err := s.begin("putting entity")
	if err != nil {
		return err
	}
	defer end()
	put, err := cloneEntity(e)
	if err != nil {
		return fmt.Errorf("putting entity: %w", err)
	}
	key := e.Key()
	if key.ID == "" {
		return fmt.Errorf("putting %s without an id: %w", key.Kind, store.ErrInvalid)
	}
	now := s.now()
	meta := store.EntityMeta{CreatedAt: now}
	if old, ok := s.entities[key]; ok {
		meta = *old.Meta()
	}
	if e.Meta().Revision != meta.Revision {
		return fmt.Errorf("putting %s %q: %w", key.Kind, key.ID, store.ErrConflict)
	}
	meta.Revision++
	meta.UpdatedAt = now
	*put.Meta() = meta
	*e.Meta() = meta
	s.entities[key] = put
	return nil
}

// Entity returns an entity.
func (s *Store) Entity(_ context.Context, key store.EntityKey) (store.Entity, error) {
	end, err := s.begin("reading entity")
	if err != nil {
		return nil, err
	}
	defer end()
	e, ok := s.entities[key]
	if !ok {
		return nil, fmt.Errorf("reading %s %q: %w", key.Kind, key.ID, store.ErrNotFound)
	}
	return cloneEntity(e)
}

// ListEntities returns entities by id.
func (s *Store) ListEntities(_ context.Context, q store.EntityQuery) ([]store.Entity, error) {
	end, err := s.begin("listing entities")
	if err != nil {
		return nil, err
	}
	defer end()
	if q.Limit < 1 {
		return nil, fmt.Errorf("listing entities: limit %d: %w", q.Limit, store.ErrInvalid)
	}
	var found []store.Entity
	for key, e := range s.entities {
		if key.Kind == q.Kind && key.Tenant == q.Tenant && key.ID > q.After {
			c, err := cloneEntity(e)
			if err != nil {
				return nil, fmt.Errorf("listing entities: %w", err)
			}
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(a, b store.Entity) int { return cmp.Compare(a.Key().ID, b.Key().ID) })
	return found[:min(len(found), q.Limit)], nil
}

// DeleteEntity removes an entity.
func (s *Store) DeleteEntity(_ context.Context, key store.EntityKey) error {
	end, err := s.begin("deleting entity")
	if err != nil {
		return err
	}
	defer end()
	if _, ok := s.entities[key]; !ok {
		return fmt.Errorf("deleting %s %q: %w", key.Kind, key.ID, store.ErrNotFound)
	}
	delete(s.entities, key)
	return nil
}

// cloneEntity copies an entity with all that it refers to.
func cloneEntity(e store.Entity) (store.Entity, error) {
	switch e := e.(type) {
	case *store.Tenant:
		c := *e
		c.Labels = maps.Clone(e.Labels)
		return &c, nil
	case *store.Endpoint:
		c := *e
		c.Header = maps.Clone(e.Header)
		c.Labels = maps.Clone(e.Labels)
		return &c, nil
	case *store.Subscription:
		c := *e
		c.Events = slices.Clone(e.Events)
		return &c, nil
	case *store.Secret:
		c := *e
		c.Value = bytes.Clone(e.Value)
		return &c, nil
	case *store.EventType:
		c := *e
		c.Schema = bytes.Clone(e.Schema)
		c.Example = bytes.Clone(e.Example)
		return &c, nil
	case *store.Pause:
		c := *e
		return &c, nil
	case *store.Job:
		c := *e
		c.Later = slices.Clone(e.Later)
		return &c, nil
	default:
		return nil, fmt.Errorf("entity of type %T: %w", e, store.ErrInvalid)
	}
}
