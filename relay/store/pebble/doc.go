// SPDX-License-Identifier: Apache-2.0

// Package pebble is the default store: everything in one directory on a local
// disk, in Pebble, an LSM tree that is a library. One process at a time uses it.
//
// A commit is acknowledged only when it is on stable storage. An error of the
// disk fails the store for good: from then on no method answers anything but
// store.ErrFailed, until the store has been closed and opened again.
//
// Leases are kept in memory. They end with the process, which is what should
// happen to them: whoever held one is gone too.
package pebble
