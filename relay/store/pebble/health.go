// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"fmt"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Health tells how the store is. It does not touch the disk: the space is what
// it was a moment ago, or longer where the disk does not answer.
func (s *Store) Health() store.Health {
	h := store.Health{
		Location:    s.dir,
		Durable:     true,
		VolumeBytes: s.space.volume.Load(),
		FreeBytes:   s.space.free.Load(),
		UsedBytes:   s.space.used.Load(),
		Full:        s.ballast.spent.Load() || s.fence.waiting.Load() > 0,
		Doubt:       s.doubt,
		Unreadable:  s.rot.rotten(),
	}
	s.ops.Lock()
	closed := s.ops.closed
	s.ops.Unlock()
	if h.Err = s.failure.err(); h.Err == nil && closed {
		h.Err = fmt.Errorf("checking store: %w", store.ErrClosed)
	}
	return h
}
