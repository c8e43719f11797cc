// SPDX-License-Identifier: Apache-2.0

package pebble

import "golang.org/x/sys/unix"

// lustreMagic is missing in x/sys.
const lustreMagic = 0x0bd00bd0

// aufsMagic is missing there too.
const aufsMagic = 0x61756673

// fileSystemOf returns the kind of file system that a directory is on, empty
// where it is not one to doubt.
func fileSystemOf(dir string) string {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return ""
	}
	switch uint32(stat.Type) {
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case aufsMagic:
		return "aufs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	case unix.FUSE_SUPER_MAGIC:
		return "fuse"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "smb"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.CEPH_SUPER_MAGIC:
		return "ceph"
	case unix.AFS_SUPER_MAGIC:
		return "afs"
	case unix.CODA_SUPER_MAGIC:
		return "coda"
	case lustreMagic:
		return "lustre"
	default:
		return ""
	}
}
