// SPDX-License-Identifier: Apache-2.0

//go:build unix

package pebble

import (
	"os"
	"syscall"
)

// owned reports whether the file belongs to the user of the process.
func owned(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
