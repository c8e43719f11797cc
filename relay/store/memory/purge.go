// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Purge removes what has outlived its time.
func (s *Store) Purge(_ context.Context, req store.PurgeRequest) (store.Purged, error) {
	end, err := s.begin("purging")
	if err != nil {
		return store.Purged{}, err
	}
	defer end()
	now := s.now()
	for key, o := range s.keys {
		if outlived(o.acceptedAt, req.DedupeWindow, now) {
			delete(s.keys, key)
		}
	}
	var purged store.Purged
	for _, r := range s.oldest() {
		keep, early := req.Finished, purged.Bytes < req.Excess
		if r.has(isDead) {
			keep, early = req.Dead, false
		}
		if r.has(store.State.Open) || slices.ContainsFunc(r.deliveries, (*store.Delivery).Holds) || !early && !outlived(r.endedAt(), keep, now) {
			continue
		}
		if req.Limit > 0 && purged.Messages == req.Limit {
			purged.More = true
			break
		}
		s.remove(r)
		purged.Messages++
		purged.Bytes += int64(len(r.message.Request.Body))
	}
	return purged, nil
}

// oldest returns all records by message id.
func (s *Store) oldest() []*record {
	return slices.SortedFunc(maps.Values(s.messages), func(a, b *record) int {
		return bytes.Compare(a.message.ID[:], b.message.ID[:])
	})
}

// outlived reports whether what ended at t has been kept for long enough; what
// is kept for ever never has.
func outlived(t time.Time, keep time.Duration, now time.Time) bool {
	return keep > 0 && !now.Before(t.Add(keep))
}
