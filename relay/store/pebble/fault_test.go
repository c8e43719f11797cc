// SPDX-License-Identifier: Apache-2.0

package pebble_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// faultKinds are the operations of the file system that change it.
var faultKinds = map[string][]errorfs.OpKind{
	"create": {errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpOpenDir},
	"rename": {errorfs.OpRename},
	"link":   {errorfs.OpLink},
	"write":  {errorfs.OpFileWrite},
	"sync":   {errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo},
	"close":  {errorfs.OpFileClose},
	"alloc":  {errorfs.OpFilePreallocate},
}

// TestT4_OperationsThatFail has the n-th operation of a kind fail, while the store is opened or later. Nothing that was
// accepted is lost, nothing hangs, and the process, which is this one, does not end.
func TestT4_OperationsThatFail(t *testing.T) {
	t.Parallel()
	for kind, ops := range faultKinds {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
			t.Run(fmt.Sprint(kind, "/", int(errno)), func(t *testing.T) {
				t.Parallel()
				for n := 1; n <= 60; n += 1 + n/6 {
					failNth(t, ops, errno, int64(n))
				}
			})
		}
	}
}

// failNth opens a store, whose n-th operation fails, uses it, and opens it again without the fault.
func failNth(t *testing.T, ops []errorfs.OpKind, errno syscall.Errno, n int64) {
	t.Helper()
	d := newDisk()
	var left atomic.Int64
	left.Store(n)
	d.breakWith(func(op errorfs.Op) error {
		for _, kind := range ops {
			if op.Kind == kind && left.Add(-1) == 0 {
				return errno
			}
		}
		return nil
	})
	opts := pebble.Options{FS: d, MemTableSize: 64 << 10}
	var acked []store.Acceptance
	within(t, fmt.Sprintf("using a disk whose operation %d fails", n), func() {
		s, err := pebble.Open("store", opts)
		if err != nil {
			return
		}
		for i := range 40 {
			a := message(i)
			noise(&a, 8<<10)
			_, err := accept(s, a)
			if err == nil {
				acked = append(acked, a)
			} else if !errors.Is(err, store.ErrFailed) {
				t.Errorf("operation %d: Accept: %v", n, err)
			}
		}
		_ = s.Close()
	})
	d.heal()
	within(t, "opening again", func() {
		s := open(t, "store", opts)
		for _, a := range acked {
			checkHas(t, s, a)
		}
		if err := s.Close(); err != nil {
			t.Errorf("operation %d: Close: %v", n, err)
		}
	})
}
