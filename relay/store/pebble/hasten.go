// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Hasten makes deliveries that are waiting due now. It does not wait until that
// is durable.
func (s *Store) Hasten(ctx context.Context, destination string, limit int) (int, error) {
	const doing = "hastening"
	end, err := s.begin(doing)
	if err != nil {
		return 0, err
	}
	defer end()
	if limit < 1 {
		return 0, fmt.Errorf("%s: limit %d: %w", doing, limit, store.ErrInvalid)
	}
	n := 0
	_, err = s.apply(ctx, func(t *txn) (err error) {
		n, err = t.hasten(destination, limit)
		return err
	})
	if err := s.answer(doing, err); err != nil {
		return 0, err
	}
	return n, nil
}

// hasten walks over the deliveries that become due later. What is kept in memory
// is leased or was given back, and does not wait.
func (t *txn) hasten(destination string, limit int) (n int, err error) {
	prefix := appendDuePrefix(nil, destination)
	from := binary.BigEndian.AppendUint64(slices.Clip(prefix), sortable(t.now)+1)
	it, err := t.s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: after(prefix), KeyTypes: pebble.IterKeyTypePointsOnly})
	if err != nil {
		return 0, err
	}
	defer it.Close()
	for it.First(); it.Valid() && n < limit; it.Next() {
		id := parseDelivery(it.Key())
		if _, ok := t.s.kept[id]; ok {
			continue
		}
		c, err := t.load(id)
		if err := explainRead(err); errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if c.State != store.Waiting || !c.DueAt.Equal(parseDue(it.Key())) {
			continue
		}
		c.DueAt = t.now
		c.dirty = true
		n++
	}
	return n, it.Error()
}
