// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"strings"

	"golang.org/x/sys/unix"
)

// fileSystemOf returns the kind of file system that a directory is on.
func fileSystemOf(dir string) string {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return ""
	}
	kind := unix.ByteSliceToString(stat.Fstypename[:])
	switch {
	case kind == "smbfs":
		return "smb"
	case strings.Contains(kind, "fuse"):
		return "fuse"
	default:
		return kind
	}
}
