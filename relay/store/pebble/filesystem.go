// SPDX-License-Identifier: Apache-2.0

package pebble

import "fmt"

// doubtful says why a store on a file system of that kind may lose what was
// committed, or returns an empty string.
func doubtful(kind string) string {
	var why string
	switch kind {
	case "overlay", "aufs":
		why = "which is gone with its container"
	case "tmpfs", "ramfs", "RAM disk":
		why = "which is in memory and gone when the machine stops"
	case "fuse":
		why = "whose program may not keep what it was asked to"
	case "nfs", "smb", "9p", "ceph", "afs", "coda", "lustre", "webdav", "network drive":
		why = "which is reached over a network, and may not keep what it was asked to"
	default:
		return ""
	}
	return fmt.Sprintf("the store is on %s, %s", kind, why)
}
