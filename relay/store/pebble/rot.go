// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

const (
	// rotFile names the files of messages that are not rewritten, and the one that is
	// just being rewritten: how often the process has ended in the midst of it.
	rotFile = "rot"

	// maxStrikes is how often that is taken for an accident.
	maxStrikes = 3

	// rewriting is what Pebble says a file is created for that messages are copied
	// to out of one that has lost some.
	rewriting vfs.DiskWriteCategory = "pebble-blob-file-rewrite"

	// maxRot bounds what is read of rotFile.
	maxRot = 1 << 20

	// rotPause is how long nothing is rewritten after a file was left as it is. Pebble
	// wants that same file again at once, until another one has lost more.
	rotPause = time.Minute
)

// rot keeps Pebble 2.1.7 from rewriting files of messages that can not be read. It
// means to report such a file, reports nothing instead, and panics over it in a
// goroutine of its own: the end of the process, and of each one after it that comes
// as far. So each file is read ahead of its rewriting, and one that has rotted, or
// that several processes in a row have ended over, stays as it is until Pebble
// deletes it as a whole: when no message is left in it.
type rot struct {
	dir    string
	fs     vfs.FS
	fence  *fence
	logger *zap.Logger
	pause  time.Duration

	// writing is held by who writes the strikes down. Nobody waits for a disk with mu:
	// how the store is must be told also where that does not answer.
	writing sync.Mutex
	writers sync.WaitGroup // of those whom nobody else waits for

	mu      sync.Mutex
	strikes map[string]int // by the name of a file; maxStrikes where it is not rewritten
	input   string         // the file that Pebble is about to rewrite
	until   time.Time      // nothing is rewritten before
}

func newRot(dir string, fs vfs.FS, fence *fence, logger *zap.Logger) *rot {
	r := &rot{dir: dir, fs: fs, fence: fence, logger: logger, pause: rotPause, strikes: make(map[string]int)}
	fence.rewrite = r.ahead
	return r
}

// load finds out what earlier processes have seen. What it can not make sense of is
// forgotten: the files are looked at anyway.
func (r *rot) load() {
	for name, strikes := range r.read() {
		if _, err := r.fs.Stat(r.fs.PathJoin(r.dir, name)); err != nil {
			continue
		}
		r.strike(name, strikes)
		if strikes >= maxStrikes {
			r.tell(name, errors.New("so earlier processes have found, or ended over it"))
		}
	}
	r.write()
}

// strike gives a file so many strikes more.
func (r *rot) strike(name string, more int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strikes[name] = min(r.strikes[name]+more, maxStrikes)
}

// read returns what the last process has written down.
func (r *rot) read() (known map[string]int) {
	f, err := r.fs.Open(r.fs.PathJoin(r.dir, rotFile))
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRot))
	if err != nil || json.Unmarshal(text, &known) != nil {
		return nil
	}
	return known
}

// begin hears which file Pebble is about to rewrite. Pebble is locked meanwhile.
func (r *rot) begin(info pebble.BlobFileRewriteInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.input = info.Input.DiskFileNum.String() + blobSuffix
}

// ahead is called when the file is created that is to take the place of the other.
// Where it returns an error, Pebble leaves the other as it is, and goes on.
func (r *rot) ahead() error {
	r.mu.Lock()
	name := r.input
	rotten := r.strikes[name] >= maxStrikes
	r.mu.Unlock()
	if rotten {
		return errRotten
	}
	err := readBlobs(r.fs, r.fs.PathJoin(r.dir, name))
	switch {
	case err == nil:
		r.strike(name, 1)
	case pebble.IsCorruptionError(err):
		r.strike(name, maxStrikes)
		r.tell(name, err)
	default:
		return err
	}
	r.write()
	return err
}

// end hears that a file was rewritten or, with an error, was not. Pebble is locked
// meanwhile, and does not wait until that is written down.
func (r *rot) end(info pebble.BlobFileRewriteInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if info.Err != nil {
		r.until = time.Now().Add(r.pause)
	}
	if strikes, ok := r.strikes[r.input]; ok && strikes < maxStrikes {
		delete(r.strikes, r.input)
		r.writers.Go(r.write)
	}
}

// deleted hears that Pebble has deleted a file.
func (r *rot) deleted(info pebble.BlobFileDeleteInfo) {
	name := r.fs.PathBase(info.Path)
	if info.Err != nil {
		return
	}
	strikes := r.forget(name)
	if strikes > 0 {
		r.write()
	}
	if strikes >= maxStrikes {
		r.logger.Info("a file of messages that could not be read is gone with the last of them", zap.String("file", name))
	}
}

// forget takes the strikes of a file that is gone, and returns how many it had.
func (r *rot) forget(name string) (strikes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strikes = r.strikes[name]; strikes > 0 {
		delete(r.strikes, name)
		r.until = time.Time{}
	}
	return strikes
}

// rests reports whether nothing is to be rewritten now.
func (r *rot) rests() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.until)
}

// rotten counts the files that are not rewritten.
func (r *rot) rotten() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, strikes := range r.strikes {
		if strikes >= maxStrikes {
			n++
		}
	}
	return n
}

func (r *rot) tell(name string, err error) {
	r.logger.Error("a file of messages can not be read, and keeps its space until all messages in it are removed",
		zap.String("path", r.fs.PathJoin(r.dir, name)), zap.Error(err))
}

// write keeps the strikes. They need not outlive the machine, and what can not be
// written is not worth a word.
func (r *rot) write() {
	r.writing.Lock()
	defer r.writing.Unlock()
	if !r.fence.enter() {
		return
	}
	defer r.fence.leave()
	path := r.fs.PathJoin(r.dir, rotFile)
	r.mu.Lock()
	strikes := maps.Clone(r.strikes)
	r.mu.Unlock()
	if len(strikes) == 0 {
		_ = r.fs.Remove(path)
		return
	}
	text, err := json.Marshal(strikes)
	if err != nil {
		return
	}
	f, err := r.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	_ = r.fence.makePrivate(path)
	_, _ = f.Write(text)
	_ = f.Close()
}
