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
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// holderFile says who has the lock. It is read by people.
const holderFile = "holder"

// lockPause is the time between two tries to get the lock.
const lockPause = 50 * time.Millisecond

// makeDir makes the directory of a store, for its owner alone. One that exists
// and is open to others is closed to them.
func makeDir(dir string, fence *fence, logger *zap.Logger) error {
	if err := fence.MkdirAll(dir, dirMode); err != nil {
		return explain(dir, err)
	}
	if !fence.private {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return explain(dir, err)
	}
	if info.Mode().Perm()&^dirMode == 0 {
		return nil
	}
	err = errors.New("it belongs to another user, or is shared by many")
	if owned(info) && info.Mode()&os.ModeSticky == 0 {
		err = os.Chmod(dir, dirMode)
	}
	if err != nil {
		logger.Warn("others than the owner may enter the store's directory; give it the mode 0700",
			zap.String("path", dir), zap.Stringer("mode", info.Mode().Perm()), zap.Error(err))
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
func lockDir(dir string, f *fence, wait time.Duration, now time.Time, logger *zap.Logger) (*pebble.Lock, error) {
	waiting := false
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
		if !waiting {
			waiting = true
			logger.Warn(fmt.Sprintf("store is held by %s; waiting up to %s", readHolder(dir, f), wait), zap.String("path", dir))
		}
	}
}

// writeHolder writes down who has the lock. Nothing depends on it, so that it
// could not be written is no error.
func writeHolder(dir string, f *fence, now time.Time) {
	name := f.PathJoin(dir, holderFile)
	file, err := f.FS.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	host, _ := os.Hostname()
	_, _ = fmt.Fprintf(file, "process %d on %s since %s\n", os.Getpid(), host, now.UTC().Format(time.RFC3339))
	_ = file.Close()
	_ = f.makePrivate(name)
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
