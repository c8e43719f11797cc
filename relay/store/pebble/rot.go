// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// rotFile has a byte for each time that the process has ended in the midst of
// rewriting a file of messages, since that last went well.
const rotFile = "rot"

// maxStrikes is how often that is taken for an accident.
const maxStrikes = 3

// rot keeps Pebble 2.1.7 from rewriting files of messages where one of them can not
// be read. It means to report that, reports nothing instead, and panics over it in
// a goroutine of its own: the end of the process, and of each one after it that
// comes as far. So nothing is rewritten any more once something was found to be
// corrupt, or several processes in a row have ended over it. What the files have of
// messages that were removed stays on the disk then.
type rot struct {
	path   string
	fs     vfs.FS
	fence  *fence
	logger *zap.Logger
	found  atomic.Bool

	mu      sync.Mutex
	strikes int
}

func newRot(dir string, fs vfs.FS, fence *fence, logger *zap.Logger) *rot {
	return &rot{path: fs.PathJoin(dir, rotFile), fs: fs, fence: fence, logger: logger}
}

// load finds out what earlier processes have seen.
func (r *rot) load() {
	info, err := r.fs.Stat(r.path)
	if err != nil {
		return
	}
	if r.strikes = int(min(info.Size(), maxStrikes)); r.strikes == maxStrikes {
		r.found.Store(true)
		r.logger.Error("stored data is corrupt, or processes have ended in the midst of rewriting it: "+
			"it is not rewritten any more, so not all space of what is removed comes back",
			zap.String("path", r.path))
	}
}

// see notes that something is corrupt.
func (r *rot) see() {
	if r.found.CompareAndSwap(false, true) {
		r.write(maxStrikes)
	}
}

// begin notes that a file is about to be rewritten.
func (r *rot) begin() {
	r.mu.Lock()
	strikes := r.strikes + 1
	r.mu.Unlock()
	r.write(strikes)
}

// end notes that this has ended, one way or the other.
func (r *rot) end() {
	if !r.found.Load() {
		r.write(0)
	}
}

// write keeps a number of strikes. It needs not outlive the machine, and one that
// can not be written is not worth a word.
func (r *rot) write(strikes int) {
	if !r.fence.enter() {
		return
	}
	defer r.fence.leave()
	r.mu.Lock()
	defer r.mu.Unlock()
	if strikes == 0 {
		r.strikes = 0
		_ = r.fs.Remove(r.path)
		return
	}
	f, err := r.fs.Create(r.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	_ = r.fence.makePrivate(r.path)
	_, _ = f.Write(make([]byte, min(strikes, maxStrikes)))
	_ = f.Close()
}
