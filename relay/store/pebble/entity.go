// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// PutEntity stores an entity.
func (s *Store) PutEntity(ctx context.Context, e store.Entity) error {
	key := e.Key()
	doing := "putting " + string(key.Kind)
	end, err := s.begin(doing)
	if err != nil {
		return err
	}
	defer end()
	before := *e.Meta()
	err = s.write(ctx, func(t *txn) error { return t.putEntity(e) })
	if err != nil {
		*e.Meta() = before
	}
	return s.wrap(doing, err)
}

func (t *txn) putEntity(e store.Entity) error {
	key := e.Key()
	if key.ID == "" {
		return fmt.Errorf("no id: %w", store.ErrInvalid)
	}
	meta := store.EntityMeta{CreatedAt: t.now}
	switch old, err := t.s.entity(key); {
	case err == nil:
		meta = *old.Meta()
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	if e.Meta().Revision != meta.Revision {
		return fmt.Errorf("%q: %w", key.ID, store.ErrConflict)
	}
	meta.Revision++
	meta.UpdatedAt = t.now
	*e.Meta() = meta
	b, err := appendEntityRecord(nil, e)
	if err != nil {
		return err
	}
	return t.batch.Set(appendEntityKey(nil, key), b, nil)
}

// Entity returns an entity.
func (s *Store) Entity(_ context.Context, key store.EntityKey) (store.Entity, error) {
	return reading(s, "reading "+string(key.Kind), func() (store.Entity, error) { return s.entity(key) })
}

func (s *Store) entity(key store.EntityKey) (store.Entity, error) {
	b, done, err := s.db.Get(appendEntityKey(nil, key))
	if err != nil {
		return nil, fmt.Errorf("%q: %w", key.ID, explainRead(err))
	}
	defer done.Close()
	return decodeEntityAt(key.Kind, key.ID, b)
}

// ListEntities returns entities by id.
func (s *Store) ListEntities(_ context.Context, q store.EntityQuery) ([]store.Entity, error) {
	return reading(s, "listing entities", func() ([]store.Entity, error) { return s.listEntities(&q) })
}

func (s *Store) listEntities(q *store.EntityQuery) ([]store.Entity, error) {
	if q.Limit < 1 {
		return nil, fmt.Errorf("limit %d: %w", q.Limit, store.ErrInvalid)
	}
	prefix := appendEntityPrefix(nil, q.Kind, q.Tenant)
	it, err := s.iterate(prefix)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var found []store.Entity
	from := append(slices.Clip(prefix), q.After...)
	if q.After != "" {
		from = append(from, 0)
	}
	for valid := it.SeekGE(from); valid && len(found) < q.Limit; valid = it.Next() {
		e, err := entityAt(it, q, len(prefix))
		if err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	return found, it.Error()
}

// entityAt returns the entity that an iterator is at, behind a prefix of its key.
func entityAt(it *pebble.Iterator, q *store.EntityQuery, prefix int) (store.Entity, error) {
	key := slices.Clone(it.Key())
	id := string(key[prefix:])
	b, err := it.ValueAndErr()
	var e store.Entity
	if err == nil {
		e, err = decodeEntityAt(q.Kind, id, b)
	}
	if err = explainRead(err); !errors.Is(err, store.ErrCorrupt) {
		return e, err
	}
	it.SeekGE(key) // which forgets that a value could not be read
	return &store.Illegible{EntityKey: store.EntityKey{Kind: q.Kind, Tenant: q.Tenant, ID: id}, Err: err}, nil
}

// DeleteEntity removes an entity.
func (s *Store) DeleteEntity(ctx context.Context, key store.EntityKey) error {
	doing := "deleting " + string(key.Kind)
	end, err := s.begin(doing)
	if err != nil {
		return err
	}
	defer end()
	err = s.write(ctx, func(t *txn) error {
		k := appendEntityKey(nil, key)
		_, done, err := s.db.Get(k)
		switch err = explainRead(err); {
		case err == nil:
			_ = done.Close()
		case !errors.Is(err, store.ErrCorrupt):
			return fmt.Errorf("%q: %w", key.ID, err)
		}
		return t.batch.Delete(k, nil)
	})
	return s.wrap(doing, err)
}
