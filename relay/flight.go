// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// flight is a commit under way that others with the same key wait for.
type flight struct {
	key     store.DedupeKey
	done    chan struct{}
	receipt Receipt
	err     error
}

func newFlight(key store.DedupeKey) flight { return flight{key: key, done: make(chan struct{})} }

// duplicate returns the receipt for one who waited. What the commit has made or
// re-driven is open now, and was not made or re-driven once more for the waiter.
func (f *flight) duplicate() Receipt {
	r := f.receipt
	switch r.Verdict {
	case store.Fresh, store.DuplicateRedelivered, store.DuplicateRedriven:
		r.Verdict = store.DuplicateOpen
	}
	return r
}

// flights keeps the commits under way by key, so that of several requests for
// one event only one is committed.
type flights struct {
	mu    sync.Mutex
	byKey map[store.DedupeKey]*flight
}

// join returns the flight under way with the key of own, or begins own, which the
// caller is to lead. A zero key always makes a flight of its own.
func (fs *flights) join(own *flight) (f *flight, leads bool) {
	if own.key.IsZero() {
		return own, true
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if under, ok := fs.byKey[own.key]; ok {
		return under, false
	}
	fs.byKey[own.key] = own
	return own, true
}

// land ends a flight with its result.
func (fs *flights) land(f *flight, r Receipt, err error) {
	f.receipt, f.err = r, err
	if !f.key.IsZero() {
		fs.mu.Lock()
		delete(fs.byKey, f.key)
		fs.mu.Unlock()
	}
	close(f.done)
}

// landAll ends the flights of a group, whose receipts are set.
func (fs *flights) landAll(group []*entry) {
	fs.mu.Lock()
	for _, e := range group {
		delete(fs.byKey, e.flight.key)
	}
	fs.mu.Unlock()
	for _, e := range group {
		close(e.flight.done)
	}
}
