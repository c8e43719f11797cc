// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// What the disk makes the writer wait for does not keep books from being read.
func TestBooksDoNotWaitForTheWriter(t *testing.T) {
	s, err := Open("store", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.unlock()
	if _, err := s.Books(t.Context()); err != nil {
		t.Errorf("Books: %v", err)
	}
}
