// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"
)

// Sighting is the first sight of a dedupe key.
type Sighting struct {
	// Message is the id that holds the key. There need not be a message of it.
	Message MessageID

	// AcceptedAt is when the key was first accepted.
	AcceptedAt time.Time
}

// Keys are the dedupe keys of a store, for events of which it keeps nothing else.
// They are the ones that Accept looks at and writes.
type Keys interface {
	// Recall returns the sighting of a key that is known within window. It changes
	// nothing. It returns only when the commit that the answer rests on is on
	// stable storage. It returns ErrNotFound, or ErrInvalid for a zero key.
	Recall(ctx context.Context, key DedupeKey, window time.Duration) (Sighting, error)

	// Remember keeps a key under an id that no message has, unless the key is known
	// within window: then it changes nothing. It returns what the key stands for,
	// and only when that is on stable storage. An error that wraps ErrFailed leaves
	// open whether the key is kept. A zero key or id is ErrInvalid.
	//
	// For Accept such a key is one whose message has been purged.
	Remember(ctx context.Context, key DedupeKey, id MessageID, window time.Duration) (Sighting, error)
}
