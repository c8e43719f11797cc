// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bufio"
	"crypto/rand"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// messageIDs makes message ids that grow, also within one millisecond.
type messageIDs struct {
	mu      sync.Mutex
	entropy *ulid.MonotonicEntropy
}

func newMessageIDs() *messageIDs {
	return &messageIDs{entropy: ulid.Monotonic(bufio.NewReader(rand.Reader), 0)}
}

func (g *messageIDs) next(now time.Time) store.MessageID {
	g.mu.Lock()
	defer g.mu.Unlock()
	// Only a clock beyond the year 10889 and an overflow of 80 bits within one
	// millisecond are errors.
	return store.MessageID(ulid.MustNew(ulid.Timestamp(now), g.entropy))
}
