// SPDX-License-Identifier: Apache-2.0

//go:build unix

package pebble_test

import (
	"os"
	"syscall"
)

// blocks returns the space that a file takes on the disk.
func blocks(info os.FileInfo) (int64, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return stat.Blocks * 512, true
}
