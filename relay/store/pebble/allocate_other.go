// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package pebble

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// allocate can only be done by writing.
func allocate(vfs.File, int64) error { return errors.ErrUnsupported }
