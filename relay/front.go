// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// frontSize is how many dedupe keys the front remembers: retries that come at once are
// among the last few thousand, and the store knows all others. Each takes some 150
// bytes full of pointers, and more of them cost every message time, in the caches and
// in the garbage collector.
const frontSize = 1 << 12

// front remembers the dedupe keys seen last, so that a storm of retries is
// answered without going through the commit queue. It only knows keys whose
// commit is durable.
type front struct {
	mu   sync.Mutex
	seen *simplelru.LRU[store.DedupeKey, sighting]
}

// sighting is the message that holds a key.
type sighting struct {
	id store.MessageID
	at time.Time
}

func newFront() *front {
	seen, err := simplelru.NewLRU[store.DedupeKey, sighting](frontSize, nil)
	if err != nil {
		panic(err) // only a size below one is an error
	}
	return &front{seen: seen}
}

func (f *front) get(key store.DedupeKey) (sighting, bool) {
	if key.IsZero() {
		return sighting{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen.Get(key)
}

func (f *front) add(key store.DedupeKey, id store.MessageID, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addLocked(key, id, at)
}

// addAll adds the keys of a group, by its receipts.
func (f *front) addAll(group []*entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range group {
		f.addLocked(e.flight.key, e.flight.receipt.ID, e.flight.receipt.AcceptedAt)
	}
}

func (f *front) addLocked(key store.DedupeKey, id store.MessageID, at time.Time) {
	if !key.IsZero() {
		f.seen.Add(key, sighting{id: id, at: at})
	}
}
