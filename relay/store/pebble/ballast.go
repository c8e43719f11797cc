// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// ballastFile keeps space for when there is no other.
const ballastFile = "ballast"

// maxBallast bounds the size of the ballast, in bytes.
const maxBallast = 64 << 20

// ballastSize returns how much space to keep on a volume of that size.
func ballastSize(volume uint64) int64 { return int64(min(maxBallast, volume/16)) }

// ballast is a file that takes space as long as there is some, and is removed
// when the disk is full, so that outcomes can still be written and space be given
// back by compactions.
type ballast struct {
	path   string
	fs     vfs.FS
	logger *zap.Logger
	fence  *fence
	size   int64 // 0 for none

	mu    sync.Mutex
	there bool
	spent atomic.Bool // it was removed, and could not be made again yet
}

func newBallast(dir string, fs vfs.FS, logger *zap.Logger) *ballast {
	return &ballast{path: fs.PathJoin(dir, ballastFile), fs: fs, logger: logger}
}

// drop gives the space to others, if it was taken, and reports whether it did. The
// caller has entered the fence, so that the file is the store's own.
func (b *ballast) drop() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.there = false
	if b.size == 0 || b.fs.Remove(b.path) != nil {
		return false
	}
	if b.spent.CompareAndSwap(false, true) {
		b.logger.Error("disk is full: the ballast has been removed, so that deliveries can go on; make space",
			zap.String("path", b.path), zap.Int64("bytes", b.size))
	}
	return true
}

// restore makes the ballast, where it is missing and there is space for twice
// its size.
func (b *ballast) restore(ctx context.Context, free uint64) {
	if !b.fence.enter() {
		return
	}
	defer b.fence.leave()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.there || b.size == 0 || b.found() {
		return
	}
	if free < 2*uint64(b.size) {
		return
	}
	if err := b.make(ctx); err != nil {
		_ = b.fs.Remove(b.path)
		b.logger.Debug("making the ballast", zap.Error(err))
		return
	}
	b.there = true
	if b.spent.CompareAndSwap(true, false) {
		b.logger.Info("disk has space again")
	}
}

// found reports whether the ballast of an earlier process is there. One of
// another size is removed.
func (b *ballast) found() bool {
	info, err := b.fs.Stat(b.path)
	if err != nil {
		return false
	}
	if info.Size() == b.size {
		b.there = true
		return true
	}
	_ = b.fs.Remove(b.path)
	return false
}

// make writes the file. Its space has to be taken for real, so it is never left
// half made.
func (b *ballast) make(ctx context.Context) (err error) {
	f, err := b.fs.Create(b.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() { err = firstError(err, f.Close()) }()
	if hasModes(b.fs) {
		if err := os.Chmod(b.path, fileMode); err != nil {
			return err
		}
	}
	if err := allocate(f, b.size); err == nil || !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	// What a file system can not make smaller.
	noise := make([]byte, 256<<10)
	source := rand.NewChaCha8([32]byte{})
	for left := b.size; left > 0; left -= int64(len(noise)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		noise = noise[:min(int64(len(noise)), left)]
		_, _ = source.Read(noise)
		if _, err := f.Write(noise); err != nil {
			return err
		}
	}
	return nil
}
