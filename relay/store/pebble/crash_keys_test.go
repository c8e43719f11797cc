// SPDX-License-Identifier: Apache-2.0

package pebble_test

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// remember keeps a key that no message has.
func (w *worker) remember() {
	k := key(-1 - w.r.IntN(40))
	seen, err := w.s.Remember(w.t.Context(), k, store.MessageID(ulid.Make()), time.Hour)
	if err != nil {
		w.t.Errorf("Remember: %v", err)
		return
	}
	w.l.note(func() {
		if first, ok := w.l.keys[k]; ok && first != seen {
			w.t.Errorf("a key of %+v is of %+v now", first, seen)
		}
		w.l.keys[k] = seen
	})
}

// checkKeys checks that what was remembered still is.
func (l *ledger) checkKeys(t *testing.T, s store.Store) {
	t.Helper()
	for k, seen := range l.keys {
		if got, err := s.Recall(t.Context(), k, time.Hour); err != nil || got != seen {
			t.Errorf("a key of %+v is of %+v, %v", seen, got, err)
		}
	}
}
