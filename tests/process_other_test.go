// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package tests

// openFiles returns 0: only Linux tells it without help.
func (s *server) openFiles() int { return 0 }

// resident returns 0: only Linux tells it without help.
func (s *server) resident() (now, peak int64) { return 0, 0 }
