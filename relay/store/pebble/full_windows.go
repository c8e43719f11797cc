// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// isFull reports whether an error says that there is no space, or that a quota
// leaves none.
func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED) || errors.Is(err, syscall.ENOSPC)
}
