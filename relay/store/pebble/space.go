// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spaceInterval is how often the space on the disk is looked at.
const spaceInterval = 250 * time.Millisecond

// space is what is known of the space on the disk, in bytes.
type space struct{ volume, free, used atomic.Uint64 }

func (s *space) set(u vfs.DiskUsage) {
	s.free.Store(u.AvailBytes)
	s.volume.Store(u.TotalBytes)
}

// watchSpace looks at the space until ctx ends. Only this goroutine hangs where
// the disk does not answer.
func (s *Store) watchSpace(ctx context.Context) {
	tick := time.NewTicker(spaceInterval)
	defer tick.Stop()
	for {
		s.ballast.restore(ctx, s.space.free.Load())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.measure()
		}
	}
}

// measure looks at the space once.
func (s *Store) measure() {
	if u, err := s.opts.FS.GetDiskUsage(s.dir); err == nil {
		s.space.set(u)
	}
	m := s.db.Metrics()
	// Of the files that hold messages Pebble's sum knows only those that this
	// process has made.
	s.space.used.Store(m.DiskSpaceUsage() - m.BlobFiles.Local.LiveSize + m.BlobFiles.LiveSize)
}

// memTableFor returns the largest memtable for a volume of that size: up to four
// logs of its size may be on the disk, and what it is flushed to beside them.
func memTableFor(volume uint64) uint64 { return max(1<<20, volume/64) }
