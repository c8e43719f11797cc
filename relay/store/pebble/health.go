// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// spaceInterval is how often the space on the disk is looked at.
const spaceInterval = time.Second

// Health tells how the store is. It does not touch the disk: the space is what
// it was at most a second ago, or longer where the disk does not answer.
func (s *Store) Health() store.Health {
	h := store.Health{
		Location:  s.dir,
		Durable:   true,
		FreeBytes: s.space.free.Load(),
		UsedBytes: s.space.used.Load(),
	}
	s.ops.Lock()
	closed := s.ops.closed
	s.ops.Unlock()
	if h.Err = s.failure.err(); h.Err == nil && closed {
		h.Err = fmt.Errorf("checking store: %w", store.ErrClosed)
	}
	return h
}

func (s *Store) sampleSpace(ctx context.Context) {
	tick := time.NewTicker(spaceInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.sample()
		}
	}
}

func (s *Store) sample() {
	if u, err := s.fence.GetDiskUsage(s.dir); err == nil {
		s.space.free.Store(u.AvailBytes)
	}
	m := s.db.Metrics()
	// Of the files that hold messages Pebble's sum knows only those that this
	// process has made.
	s.space.used.Store(m.DiskSpaceUsage() - m.BlobFiles.Local.LiveSize + m.BlobFiles.LiveSize)
}
