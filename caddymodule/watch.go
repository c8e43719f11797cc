// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// watchGap is how often the files of secrets are looked at.
const watchGap = 2 * time.Second

// maxFormer is how many former contents of a file may verify at once.
const maxFormer = 4

// watchedSecrets holds the secrets of this process that come from files, by how
// they are written in the configuration: a former content is good for its overlap
// whether or not the configuration is loaded anew meanwhile.
var watchedSecrets = caddy.NewUsagePool()

// watchedSecret is a secret that follows the files it comes from.
type watchedSecret struct {
	text  string
	paths []string

	mu      sync.Mutex
	seen    []os.FileInfo // the files as they were when current was read
	pending []os.FileInfo // what they have changed to, until they hold still
	current secret
	former  []formerSecret // newest first
	version uint64
	failing bool
}

// formerSecret is what a file held before.
type formerSecret struct {
	secret
	left time.Time
}

// Destruct implements caddy.Destructor.
func (*watchedSecret) Destruct() error { return nil }

// filePaths lists the files that a secret comes from.
func filePaths(text string) []string {
	var paths []string
	for _, match := range placeholder.FindAllStringSubmatch(text, -1) {
		if path, ok := strings.CutPrefix(match[1], "file."); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// watchSecret returns the secret of that text and holds it until dropWatched is
// called once. It reads the files.
func watchSecret(text string, now time.Time) (*watchedSecret, error) {
	value, _, _ := watchedSecrets.LoadOrNew(text, func() (caddy.Destructor, error) {
		return &watchedSecret{text: text, paths: filePaths(text)}, nil
	})
	w := value.(*watchedSecret)
	if err := w.read(now); err != nil {
		w.drop()
		return nil, err
	}
	return w, nil
}

// drop gives the secret back.
func (w *watchedSecret) drop() { _, _ = watchedSecrets.Delete(w.text) }

// read takes the content that the files have now.
func (w *watchedSecret) read(now time.Time) error {
	// Looked at before they are read, a change in between is seen the next time.
	infos, _ := statAll(w.paths)
	value, err := resolveSecret(w.text)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen, w.pending, w.failing = infos, nil, false
	w.swap(value, now)
	return nil
}

// swap puts a content into force and remembers the former one.
func (w *watchedSecret) swap(value secret, now time.Time) {
	if w.version > 0 && string(value.bytes) == string(w.current.bytes) {
		return
	}
	if w.version > 0 {
		w.former = slices.Insert(w.former, 0, formerSecret{w.current, now})
	}
	w.former = slices.DeleteFunc(w.former, func(f formerSecret) bool { return string(f.bytes) == string(value.bytes) })
	w.former = w.former[:min(len(w.former), maxFormer)]
	w.current = value
	w.version++
}

// poll looks at the files and takes a new content once they hold still: one that
// is being written is not read by halves. A content that can not be read or used
// leaves the former one in force; the error says so once.
func (w *watchedSecret) poll(now time.Time) error {
	infos, err := statAll(w.paths)
	w.mu.Lock()
	unchanged := err == nil && sameFiles(infos, w.seen)
	settled := err != nil || sameFiles(infos, w.pending)
	if unchanged {
		w.pending, w.failing = nil, false
	} else if !settled {
		w.pending = infos
	}
	w.mu.Unlock()
	if unchanged || !settled {
		return nil
	}
	if err == nil {
		err = readable(w.paths)
	}
	if err == nil {
		err = w.read(now)
	}
	if err == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.failing
	w.failing = true
	if told {
		return nil
	}
	return err
}

// values returns what verifies now: the content in force, and those before it
// whose overlap has not ended. until is when the next one ends, zero if none does.
func (w *watchedSecret) values(now time.Time, overlap time.Duration) (current secret, former []secret, until time.Time, version uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.former {
		end := f.left.Add(overlap)
		if !now.Before(end) {
			continue
		}
		former = append(former, f.secret)
		if until.IsZero() || end.Before(until) {
			until = end
		}
	}
	return w.current, former, until, w.version
}

// statAll follows links, so that a file whose link has been turned to another
// one has changed.
func statAll(paths []string) ([]os.FileInfo, error) {
	infos := make([]os.FileInfo, 0, len(paths))
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// sameFiles reports whether nothing shows that files have changed.
func sameFiles(a, b []os.FileInfo) bool {
	return slices.EqualFunc(a, b, func(x, y os.FileInfo) bool {
		return os.SameFile(x, y) && x.Size() == y.Size() && x.ModTime().Equal(y.ModTime())
	})
}

// readable reports files that can not be read, or are empty.
func readable(paths []string) error {
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return emptyFile(path)
		}
		_, err = io.ReadFull(file, make([]byte, 1))
		_ = file.Close()
		if err != nil {
			return emptyFile(path)
		}
	}
	return nil
}

// watcher keeps the secrets of a configuration as their files are.
type watcher struct {
	log       *zap.Logger
	published *scheme.KeyCache

	mu       sync.Mutex
	bindings []*binding
	cancel   context.CancelFunc
	done     sync.WaitGroup
}

// add watches over a binding.
func (w *watcher) add(b *binding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bindings = append(w.bindings, b)
}

// all lists what is watched over.
func (w *watcher) all() []*binding {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.bindings)
}

// start begins to watch where there is anything to be watched.
func (w *watcher) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cancel != nil || !slices.ContainsFunc(w.bindings, (*binding).changes) {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.done.Go(func() {
		ticker := time.NewTicker(watchGap)
		defer ticker.Stop()
		w.run(ctx, ticker.C)
	})
}

// stop ends the watching. It may be called without a start, and again.
func (w *watcher) stop() {
	w.mu.Lock()
	cancel := w.cancel
	w.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	w.done.Wait()
}

// run looks at the files at each tick until ctx ends.
func (w *watcher) run(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks:
			w.tick(now)
		}
	}
}

// tick looks at each file once, and binds anew what has changed.
func (w *watcher) tick(now time.Time) {
	bindings := w.all()
	polled := make(map[*watchedSecret]bool)
	for _, b := range bindings {
		for _, t := range b.texts() {
			if t.file == nil || polled[t.file] {
				continue
			}
			polled[t.file] = true
			if err := t.file.poll(now); err != nil {
				w.log.Error("secret can not be read any more; the one before stays in force", zap.Error(err))
			}
		}
	}
	for _, b := range bindings {
		b.refresh(now)
	}
	if w.published != nil {
		go w.published.Renew() // it outlives a reload, as the keys do
	}
}
