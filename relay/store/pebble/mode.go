// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"os"
	"runtime"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The modes of what the store makes: what it keeps is for its owner alone.
const (
	dirMode  os.FileMode = 0o700
	fileMode os.FileMode = 0o600
)

// hasModes reports whether the files of a file system have modes.
func hasModes(fs vfs.FS) bool { return fs == vfs.Default && runtime.GOOS != "windows" }

// makePrivate closes a file that was just made to all but its owner. Pebble makes
// files for everybody, less what the process masks.
func (f *fence) makePrivate(name string) error {
	if !f.private {
		return nil
	}
	return os.Chmod(name, fileMode)
}

// made passes on the file of a name that has just been made, and makes it
// private.
func (f *fence) made(name string) func(vfs.File, error) (vfs.File, error) {
	return func(file vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		if err := f.makePrivate(name); err != nil {
			_ = file.Close()
			return nil, err
		}
		return file, nil
	}
}
