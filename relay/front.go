// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// frontSize is how many dedupe keys the front remembers.
const frontSize = 1 << 15

// front remembers the dedupe keys seen last, so that a storm of retries is
// answered without going through the commit queue. It only knows keys whose
// commit is durable.
type front struct {
	cache *lru.Cache[store.DedupeKey, sighting]
}

// sighting is the message that holds a key.
type sighting struct {
	id store.MessageID
	at time.Time
}

func newFront() *front {
	cache, err := lru.New[store.DedupeKey, sighting](frontSize)
	if err != nil {
		panic(err) // only a size below one is an error
	}
	return &front{cache: cache}
}

func (f *front) get(key store.DedupeKey) (sighting, bool) {
	if key.IsZero() {
		return sighting{}, false
	}
	return f.cache.Get(key)
}

func (f *front) add(key store.DedupeKey, id store.MessageID, at time.Time) {
	if !key.IsZero() {
		f.cache.Add(key, sighting{id: id, at: at})
	}
}
