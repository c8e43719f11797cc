// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The operations that are never tried again.
const (
	syncing    = "syncing"
	syncingDir = "syncing the directory"
)

// fullPause is how long a write waits on a full disk before it is tried again.
const fullPause = 250 * time.Millisecond

// fence stands between Pebble and the file system.
//
// Pebble answers an error of its write-ahead log or its manifest with the end of
// the process, and some others, as one of a file of values, by a panic that nobody
// can recover from. So once Pebble is open the fence does not let it see one: the
// store fails, which releases all callers, and the goroutine that met the error
// stays here for ever. A full disk is no such error: the write is tried again
// until there is space. An error of fsync always is one: what it lost is not
// known. While it is being opened Pebble returns most errors to its caller.
//
// When a failed store is closed and Pebble does not end in time, the fence is
// cut: nothing that is left of it reaches the disk, so that the directory can be
// opened again.
type fence struct {
	vfs.FS
	armed   atomic.Bool // Pebble is open
	open    atomic.Bool // the store is, so that what comes may wait for space
	closing atomic.Bool // nobody waits for space any more
	severed atomic.Bool
	busy    atomic.Int64 // calls that are changing the disk now
	waiting atomic.Int64 // calls that wait for space on it
	private bool         // files have modes, and are made for their owner alone
	fail    func(error)
	spare   func() bool  // makes space at once, if it can
	rewrite func() error // says what speaks against rewriting a file of messages

	mu   sync.Mutex
	lock io.Closer
}

func newFence(fs vfs.FS, fail func(error), spare func() bool) *fence {
	return &fence{FS: fs, private: hasModes(fs), fail: fail, spare: spare}
}

// Unwrap returns the file system behind the fence.
func (f *fence) Unwrap() vfs.FS { return f.FS }

// panics reports whether Pebble panics over an error even while it is being
// opened, when it already writes tables in the background.
func panics(doing, name string) bool {
	return doing == syncingDir || strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, blobSuffix)
}

// change carries out an operation that changes the disk.
func (f *fence) change(doing, name string, op func() error) error {
	waits := false
	defer func() {
		if waits {
			f.waiting.Add(-1)
		}
	}()
	for {
		if !f.enter() {
			park()
		}
		err := op()
		full := isFull(err) && doing != syncing && doing != syncingDir
		spared := full && f.spare()
		f.leave()
		if err == nil {
			return nil
		}
		if spared {
			continue
		}
		if !f.armed.Load() && !panics(doing, name) || errors.Is(err, os.ErrNotExist) {
			return err
		}
		if full && f.open.Load() && !f.closing.Load() {
			if !waits {
				waits = true
				f.waiting.Add(1)
			}
			time.Sleep(fullPause)
			continue
		}
		f.fail(fmt.Errorf("%s %s: %w", doing, name, err))
		park()
	}
}

// enter counts a call that may change the disk, which leave ends, and reports
// whether it may: not once the fence is cut, when the directory may be another's.
func (f *fence) enter() bool {
	f.busy.Add(1)
	if f.severed.Load() {
		f.busy.Add(-1)
		return false
	}
	return true
}

func (f *fence) leave() { f.busy.Add(-1) }

// park never returns.
func park() { select {} }

// Create creates a file.
func (f *fence) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if category == rewriting {
		if err := f.rewrite(); err != nil {
			return nil, err
		}
	}
	return f.make("creating", name, func() (vfs.File, error) {
		return f.made(name)(f.FS.Create(name, category))
	})
}

// Open opens a file for reading, unless Pebble would panic over it.
func (f *fence) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	if err != nil || !strings.HasSuffix(name, blobSuffix) {
		return file, err
	}
	if err := checkEnd(file); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	return file, nil
}

// OpenReadWrite opens a file for writing.
func (f *fence) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.make("opening", name, func() (vfs.File, error) {
		return f.made(name)(f.FS.OpenReadWrite(name, category, opts...))
	})
}

// ReuseForWrite renames a file and opens it for writing.
func (f *fence) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.make("reusing", to, func() (vfs.File, error) {
		return f.made(to)(f.FS.ReuseForWrite(from, to, category))
	})
}

// OpenDir opens a directory, to sync it.
func (f *fence) OpenDir(name string) (vfs.File, error) {
	dir := &fencedDir{fence: f, name: name}
	err := f.change("opening", name, func() (err error) {
		dir.File, err = f.FS.OpenDir(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return dir, nil
}

func (f *fence) make(doing, name string, op func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	err := f.change(doing, name, func() (err error) {
		file, err = op()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &fencedFile{File: file, fence: f, name: name}, nil
}

// Link makes a hard link.
func (f *fence) Link(from, to string) error {
	return f.change("linking", to, func() error { return f.FS.Link(from, to) })
}

// Rename renames a file.
func (f *fence) Rename(from, to string) error {
	return f.change("renaming", to, func() error { return f.FS.Rename(from, to) })
}

// Remove removes a file. That it can not be removed loses nothing.
func (f *fence) Remove(name string) error {
	if !f.enter() {
		park()
	}
	defer f.leave()
	return f.FS.Remove(name)
}

// Lock locks a file. The lock ends when it is closed or when the fence is cut.
func (f *fence) Lock(name string) (io.Closer, error) {
	lock, err := f.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	if err := f.makePrivate(name); err != nil {
		_ = lock.Close()
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lock = lock
	return closer(f.unlock), nil
}

type closer func() error

func (c closer) Close() error { return c() }

// unlock gives the lock back, once.
func (f *fence) unlock() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lock == nil {
		return nil
	}
	err := f.lock.Close()
	f.lock = nil
	return err
}

// sever cuts the fence. It gives the lock back if no call is left that could
// still change the disk, and reports whether it did.
func (f *fence) sever(wait time.Duration) bool {
	f.severed.Store(true)
	for deadline := time.Now().Add(wait); f.busy.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return f.unlock() == nil
}

// fencedDir is a directory that was opened to be synced.
type fencedDir struct {
	vfs.File
	fence *fence
	name  string
}

// Sync makes the directory durable.
func (d *fencedDir) Sync() error { return d.fence.change(syncingDir, d.name, d.File.Sync) }

// fencedFile is a file that was opened for writing.
type fencedFile struct {
	vfs.File
	fence *fence
	name  string
}

// Write writes all of p. On a full disk it goes on where it was stopped.
func (f *fencedFile) Write(p []byte) (int, error) {
	done := 0
	err := f.fence.change("writing", f.name, func() error {
		n, err := f.File.Write(p[done:])
		done += n
		return err
	})
	return done, err
}

// WriteAt writes all of p at an offset.
func (f *fencedFile) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	err := f.fence.change("writing", f.name, func() error {
		n, err := f.File.WriteAt(p[done:], off+int64(done))
		done += n
		return err
	})
	return done, err
}

// Sync makes the file durable.
func (f *fencedFile) Sync() error { return f.fence.change(syncing, f.name, f.File.Sync) }

// SyncData makes the file's data durable.
func (f *fencedFile) SyncData() error { return f.fence.change(syncing, f.name, f.File.SyncData) }

// SyncTo starts to make the file's data durable.
func (f *fencedFile) SyncTo(length int64) (bool, error) {
	var full bool
	err := f.fence.change(syncing, f.name, func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// Close closes the file.
func (f *fencedFile) Close() error { return f.fence.change("closing", f.name, f.File.Close) }
