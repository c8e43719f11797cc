// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package pebble

import (
	"errors"
	"syscall"
)

// isFull reports whether an error says that there is no space, or that a quota
// leaves none.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
