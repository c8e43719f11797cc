// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Inbound is a verified request that asks to be accepted.
type Inbound struct {
	// Message is the message without its ID and BodySum, which the engine sets before
	// Accept returns. From the call on nobody else may change it; what the caller has
	// put into it can be read all the time.
	Message *store.Message

	// Identity is what makes two requests the same event; nil means that the
	// message is never a duplicate. See DedupeKey for Message.VerifiedBy and
	// Message.Source, which belong to the identity too.
	Identity [][]byte

	// Window is how long the identity is remembered.
	Window time.Duration

	// Redeliver says that a duplicate of a delivered message is delivered again.
	Redeliver bool

	// ShedLast says that the sender never sends again by itself, so that under load
	// the message is refused only when those of all others are. See
	// Generation.ShedLast.
	ShedLast bool

	// Targets are the destinations of the message.
	Targets []Target

	// Reservation holds the memory of the body, nil where none was reserved. It
	// belongs to the engine from the call of Accept on.
	Reservation *Reservation

	// Waiter waits for the answer to the first attempt, nil where nobody does. Only
	// a message with one target may have one.
	Waiter *Waiter
}

// Target is one destination of a message.
type Target struct {
	// Destination is the id of the destination.
	Destination string

	// OrderKey is the key of order_by, empty for unordered deliveries.
	OrderKey string
}

// Receipt says what became of a message that was accepted.
type Receipt struct {
	// ID is the id of the message: of the original where the new one was a
	// duplicate.
	ID store.MessageID

	// Verdict says whether the message is fresh or what kind of duplicate it is.
	Verdict store.Verdict

	// AcceptedAt is when the message with that id was accepted.
	AcceptedAt time.Time
}

// DedupeKey hashes an identity: SHA-256 over source, scheme and parts, each
// behind its length, cut to 128 bits. No parts make the zero key, which stands
// for no identity.
func DedupeKey(source, scheme string, parts [][]byte) store.DedupeKey {
	if len(parts) == 0 {
		return store.DedupeKey{}
	}
	var buf [256]byte
	b := appendPart(buf[:0], []byte(source))
	b = appendPart(b, []byte(scheme))
	for _, p := range parts {
		b = appendPart(b, p)
	}
	sum := sha256.Sum256(b)
	return store.DedupeKey(sum[:16])
}

func appendPart(b, part []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
	return append(b, part...)
}
