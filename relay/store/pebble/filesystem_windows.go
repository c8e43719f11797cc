// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"path/filepath"

	"golang.org/x/sys/windows"
)

// fileSystemOf returns the kind of drive that a directory is on, empty where it
// is not one to doubt.
func fileSystemOf(dir string) string {
	root, err := windows.UTF16PtrFromString(filepath.VolumeName(dir) + `\`)
	if err != nil {
		return ""
	}
	switch windows.GetDriveType(root) {
	case windows.DRIVE_REMOTE:
		return "network drive"
	case windows.DRIVE_RAMDISK:
		return "RAM disk"
	default:
		return ""
	}
}
