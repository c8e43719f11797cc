// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// holderFile says who has the lock. It is read by people.
const holderFile = "holder"

// lockPause is the time between two tries to get the lock.
const lockPause = 50 * time.Millisecond

// makeDir makes the directory of a store, for its owner alone.
func makeDir(dir string, fence *fence) error {
	if err := fence.MkdirAll(dir, 0o700); err != nil {
		return explain(dir, err)
	}
	return nil
}

// explain adds to a permission error who was refused and where.
func explain(dir string, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	name := fmt.Sprintf("uid %d", os.Getuid())
	if u, uerr := user.Current(); uerr == nil {
		name = fmt.Sprintf("user %s", u.Username)
	}
	return fmt.Errorf("%s may not write to %s; give it that directory or choose another path for the store: %w", name, dir, err)
}

// lockDir locks the directory, and waits for a while if another has it.
func lockDir(dir string, f *fence, wait time.Duration, now time.Time) (*pebble.Lock, error) {
	for deadline := time.Now().Add(wait); ; time.Sleep(lockPause) {
		lock, err := pebble.LockDirectory(dir, f)
		if err == nil {
			writeHolder(dir, f, now)
			return lock, nil
		}
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, explain(dir, err)
		}
		if !time.Now().Before(deadline) {
			return nil, fmt.Errorf("%w: %s is held by %s; usually another running Caddy uses this store: "+
				"use 'caddy reload' to change its configuration, or give this one its own path (%v)",
				store.ErrLocked, dir, readHolder(dir, f), err)
		}
	}
}

// writeHolder writes down who has the lock. Nothing depends on it, so that it
// could not be written is no error.
func writeHolder(dir string, f *fence, now time.Time) {
	file, err := f.FS.Create(f.PathJoin(dir, holderFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	host, _ := os.Hostname()
	_, _ = fmt.Fprintf(file, "process %d on %s since %s\n", os.Getpid(), host, now.UTC().Format(time.RFC3339))
	_ = file.Close()
}

func readHolder(dir string, f *fence) string {
	const unknown = "an unknown process"
	file, err := f.FS.Open(f.PathJoin(dir, holderFile))
	if err != nil {
		return unknown
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 512))
	if holder := strings.TrimSpace(string(text)); err == nil && holder != "" {
		return holder
	}
	return unknown
}
