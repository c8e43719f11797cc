// SPDX-License-Identifier: Apache-2.0

package pebble_test

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// volume is a file system in memory of a certain size.
type volume struct {
	vfs.FS
	total uint64
	free  atomic.Uint64

	before atomic.Pointer[func()] // runs before the size is told
}

func (v *volume) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if before := v.before.Load(); before != nil {
		(*before)()
	}
	free := v.free.Load()
	return vfs.DiskUsage{AvailBytes: free, TotalBytes: v.total, UsedBytes: v.total - free}, nil
}

func (v *volume) Unwrap() vfs.FS { return v.FS }

// newVolume returns a volume on a disk that can break.
func newVolume(d *disk, total uint64) *volume {
	v := &volume{FS: d.FS, total: total}
	v.free.Store(total)
	return v
}

func (v *volume) ballast() int64 {
	info, err := v.Stat("store/ballast")
	if err != nil {
		return 0
	}
	return info.Size()
}

// rest lets a second pass for a store in a bubble of its own, in which it looks at its disk, and returns when all that this has
// begun has ended.
func rest() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// openInBubble opens a store that is closed even where the test ends early: nothing may be left in its bubble then.
func openInBubble(t *testing.T, dir string, opts pebble.Options) *pebble.Store {
	t.Helper()
	s := open(t, dir, opts)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// openWithBallast opens a store on a volume of 64 MiB on a disk that can break.
func openWithBallast(t *testing.T) (*disk, *volume, *pebble.Store) {
	t.Helper()
	d := newDisk()
	v := newVolume(d, 64<<20)
	s := openInBubble(t, "store", pebble.Options{FS: v})
	rest()
	if n := v.ballast(); n != 4<<20 {
		t.Fatalf("ballast of %d", n)
	}
	return d, v, s
}

func TestT5_BallastIsGivenAndTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, v, s := openWithBallast(t)
		a := message(1)
		// The disk is full until the ballast is gone.
		d.breakWith(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileWrite && v.ballast() > 0 {
				return syscall.ENOSPC
			}
			return nil
		})
		v.free.Store(0)
		within(t, "accepting on what was in reserve", func() {
			if _, err := accept(s, a); err != nil {
				t.Errorf("Accept: %v", err)
			}
		})
		if h := s.Health(); !h.Full || h.Err != nil || v.ballast() != 0 {
			t.Errorf("Health %+v, ballast of %d", h, v.ballast())
		}
		d.heal()
		v.free.Store(7 << 20)
		rest()
		if h := s.Health(); !h.Full || h.FreeBytes != 7<<20 {
			t.Errorf("Health with less space than the ballast needs: %+v", h)
		}
		v.free.Store(60 << 20)
		rest()
		if h := s.Health(); h.Full || v.ballast() != 4<<20 {
			t.Errorf("Health with space again: %+v, ballast of %d", h, v.ballast())
		}
		checkHas(t, s, a)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenOnFullDiskTakesTheBallast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, v, s := openWithBallast(t)
		a := message(1)
		if _, err := accept(s, a); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		v.free.Store(0)
		d.breakWith(func(op errorfs.Op) error {
			if (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate) && v.ballast() > 0 {
				return syscall.ENOSPC
			}
			return nil
		})
		s = openInBubble(t, "store", pebble.Options{FS: v})
		if !s.Health().Full {
			t.Error("the store does not say that it is full")
		}
		d.heal()
		checkHas(t, s, a)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestT5_FullMeansThatSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		s := openInBubble(t, "store", pebble.Options{FS: d}) // of no known size, so without ballast
		d.breakWith(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileWrite {
				return syscall.EDQUOT
			}
			return nil
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := accept(s, message(1)); err != nil {
				t.Errorf("Accept: %v", err)
			}
		})
		rest()
		if h := s.Health(); !h.Full || h.Err != nil {
			t.Errorf("Health while somebody waits: %+v", h)
		}
		d.heal()
		within(t, "accepting when there is space", wg.Wait)
		rest()
		if h := s.Health(); h.Full {
			t.Errorf("Health when nobody waits: %+v", h)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestDiskThatDoesNotSayItsSizeHoldsUpNobody(t *testing.T) {
	v := newVolume(newDisk(), 64<<20)
	s := open(t, "store", pebble.Options{FS: v})
	answer, asked := make(chan struct{}), make(chan struct{}, 100)
	hang := func() {
		asked <- struct{}{}
		<-answer
	}
	v.before.Store(&hang)
	<-asked
	within(t, "accepting and asking", func() {
		if _, err := accept(s, message(1)); err != nil {
			t.Error(err)
		}
		if h := s.Health(); h.VolumeBytes != v.total {
			t.Errorf("Health: %+v", h)
		}
	})
	close(answer)
	within(t, "closing", func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestBallastTakesRealSpaceForItsOwnerAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := openInBubble(t, dir, pebble.Options{})
		path := filepath.Join(dir, "ballast")
		rest()
		info, err := os.Stat(path)
		if err != nil || info.Size() == 0 {
			t.Fatalf("no ballast: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS == "windows" {
			return
		}
		if mode := info.Mode(); mode != 0o600 {
			t.Errorf("mode %s", mode)
		}
		if taken, ok := blocks(info); ok && taken < info.Size() {
			t.Errorf("a ballast of %d bytes takes %d", info.Size(), taken)
		}
	})
}

func TestC17_PurgeForSpaceGivesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openInBubble(t, t.TempDir(), pebble.Options{MemTableSize: 1 << 20})
		const size, messages = 16 << 10, 2000
		fillFinished(t, s, messages, size, func(int) store.State { return store.Delivered })
		rest()
		if used := s.Health().UsedBytes; used < size*messages*9/10 {
			t.Fatalf("%d bytes are used by messages of %d", used, size*messages)
		}
		p, err := s.Purge(t.Context(), store.PurgeRequest{Excess: size * messages / 2})
		if err != nil || p.Messages != messages/2 {
			t.Fatalf("Purge: %+v, %v", p, err)
		}
		rest()
		if used := s.Health().UsedBytes; used > size*messages*3/4 {
			t.Errorf("%d bytes are used by messages of %d", used, size*messages/2)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
