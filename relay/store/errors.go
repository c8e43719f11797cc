// SPDX-License-Identifier: Apache-2.0

package store

import "errors"

var (
	// ErrNotFound says that no message, delivery or entity has the given id.
	ErrNotFound = errors.New("not found")

	// ErrClosed says that the store has been closed.
	ErrClosed = errors.New("store is closed")

	// ErrFailed says that the store has seen an error of its disk or database
	// after which nothing it answers can be trusted. It stays failed until it has
	// been closed and opened again.
	ErrFailed = errors.New("store has failed")

	// ErrLeaseLost says that a delivery is no longer leased under the epoch that
	// was given, so that its outcome must be dropped.
	ErrLeaseLost = errors.New("lease lost")

	// ErrLocked says that another process has the store open. The error that
	// wraps it names the holder.
	ErrLocked = errors.New("store is in use by another process")

	// ErrFormat says that the data on disk was written in a format that this
	// version does not know.
	ErrFormat = errors.New("unknown store format")

	// ErrCorrupt says that stored data could not be read back as it was written.
	ErrCorrupt = errors.New("stored data is corrupt")

	// ErrState says that a delivery or a job is in a state that does not allow what
	// was asked, such as the re-drive of one that is not dead.
	ErrState = errors.New("its state does not allow this")

	// ErrConflict says that an entity has changed since the revision the caller
	// had read.
	ErrConflict = errors.New("entity has changed since it was read")

	// ErrInvalid says that a request to the store makes no sense as it stands.
	ErrInvalid = errors.New("invalid request")
)
