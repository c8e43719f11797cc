// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// allocate takes space for a file without writing it. It returns an error that
// wraps errors.ErrUnsupported where the file system can not.
func allocate(f vfs.File, size int64) error {
	fd := f.Fd()
	if fd == vfs.InvalidFd {
		return errors.ErrUnsupported
	}
	return unix.Fallocate(int(fd), 0, 0, size)
}
