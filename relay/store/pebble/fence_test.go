// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// TestAFenceIsNotCutWhileTheBallastIsRemoved has a store be given up in the moment
// in which it meets the end of the disk: the lock stays until it can not remove
// anything any more, or it would remove the ballast of the store that is opened
// next.
func TestAFenceIsNotCutWhileTheBallastIsRemoved(t *testing.T) {
	sparing, spared := make(chan struct{}), make(chan struct{})
	f := newFence(vfs.NewMem(), func(error) {}, func() bool {
		close(sparing)
		<-spared
		return true
	})
	if _, err := f.Lock("lock"); err != nil {
		t.Fatal(err)
	}
	tries := 0
	ended := make(chan error, 1)
	go func() {
		ended <- f.change("writing", "file", func() error {
			if tries++; tries == 1 {
				return syscall.ENOSPC
			}
			return nil
		})
	}()
	<-sparing
	if f.sever(10 * time.Millisecond) {
		t.Error("the fence was cut, and the directory given away, while the ballast was being removed")
	}
	if _, err := f.FS.Lock("lock"); err == nil {
		t.Error("another store has the lock")
	}
	close(spared)
	if !f.sever(time.Minute) {
		t.Error("the fence can not be cut")
	}
	select {
	case err := <-ended:
		t.Errorf("the write has ended: %v", err)
	default: // it stays behind the fence for ever
	}
}

// TestAStoreThatWasGivenUpMakesNoBallast has it find space after that.
func TestAStoreThatWasGivenUpMakesNoBallast(t *testing.T) {
	fs := vfs.NewMem()
	b := newBallast("", fs, zap.NewNop())
	b.fence, b.size = newFence(fs, func(error) {}, b.drop), 1<<10
	b.restore(t.Context(), 1<<20)
	if _, err := fs.Stat(b.path); err != nil {
		t.Fatalf("the ballast is not made: %v", err)
	}
	if !b.drop() {
		t.Fatal("the ballast is not removed")
	}
	b.fence.sever(time.Minute)
	b.restore(t.Context(), 1<<20)
	if _, err := fs.Stat(b.path); err == nil {
		t.Error("the ballast is made in a directory that may be another's")
	}
}
