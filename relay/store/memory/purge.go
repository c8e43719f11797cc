// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
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
	for _, r := range s.messages {
		keep := req.Finished
		if r.has(isDead) {
			keep = req.Dead
		}
		if r.has(store.State.Open) || slices.ContainsFunc(r.deliveries, (*store.Delivery).Holds) || !outlived(r.endedAt(), keep, now) {
			continue
		}
		if req.Limit > 0 && purged.Messages == req.Limit {
			purged.More = true
			break
		}
		s.remove(r)
		purged.Messages++
	}
	return purged, nil
}

// outlived reports whether what ended at t has been kept for long enough; what
// is kept for ever never has.
func outlived(t time.Time, keep time.Duration, now time.Time) bool {
	return keep > 0 && !now.Before(t.Add(keep))
}
