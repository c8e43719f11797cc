// SPDX-License-Identifier: Apache-2.0

package pebble_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

func skipWithoutModes(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	skipWithoutModes(t)
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 { // the log of the first is used again by the second
		s := open(t, dir, pebble.Options{MemTableSize: 256 << 10})
		for i := range 400 {
			if _, err := accept(s, sized(i)); err != nil {
				t.Fatal(err)
			}
		}
		checkPrivate(t, dir, "open")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		kinds := checkPrivate(t, dir, "closed")
		for _, kind := range []string{".log", ".sst", ".blob", "LOCK", "holder"} {
			if !kinds[kind] {
				t.Errorf("there is no %s file to look at", kind)
			}
		}
	}
}

// checkPrivate checks the modes of all that is in a directory, and returns which
// kinds of files there were.
func checkPrivate(t *testing.T, dir, when string) map[string]bool {
	t.Helper()
	kinds := make(map[string]bool)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %s has mode %v", when, path, info.Mode())
		}
		kind := filepath.Ext(path)
		if kind == "" {
			kind = filepath.Base(path)
		}
		kinds[kind] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}

func TestOpenDirectoryIsClosedToOthers(t *testing.T) {
	skipWithoutModes(t)
	for name, c := range map[string]struct {
		before, after fs.FileMode
		warnings      int
	}{
		"readable by all":     {0o755, 0o700, 0},
		"readable by a group": {0o750, 0o700, 0},
		"private":             {0o700, 0o700, 0},
		"shared by many":      {0o777 | fs.ModeSticky, 0o777 | fs.ModeSticky, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, c.before); err != nil {
				t.Fatal(err)
			}
			core, logs := observer.New(zap.WarnLevel)
			s := open(t, dir, pebble.Options{Logger: zap.New(core)})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(dir)
			if err != nil {
				t.Fatal(err)
			}
			if mode := info.Mode() &^ fs.ModeDir; mode != c.after {
				t.Errorf("directory has mode %v, want %v", mode, c.after)
			}
			if logs.Len() != c.warnings {
				t.Errorf("warnings %v, want %d", logs.All(), c.warnings)
			}
		})
	}
}
