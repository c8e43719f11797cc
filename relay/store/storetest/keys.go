// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"sync"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var keyChecks = []check{
	{"of_no_event_are_not_found", checkKeyUnknown},
	{"are_kept_without_a_message", checkKeyKept},
	{"stay_with_the_first_id", checkKeyFirst},
	{"P4_expire_with_the_window_and_not_before", checkKeyExpires},
	{"of_messages_are_recalled", checkKeyOfMessage},
	{"P5_make_a_message_a_duplicate_of_a_purged_one", checkKeyThenMessage},
	{"P4_outlive_purge", checkKeyOutlivesPurge},
	{"that_are_zero_are_refused", checkKeyZero},
	{"P2_are_first_remembered_by_one", checkKeyConcurrent},
}

// recall returns the sighting of a key that must be known.
func (x *fixture) recall(key string) store.Sighting {
	x.Helper()
	seen, err := x.store.Recall(x.Context(), keyOf(key), window)
	if err != nil {
		x.Fatalf("Recall of %s: %v", key, err)
	}
	return plainSighting(seen)
}

// forgotten checks that a key is not known.
func (x *fixture) forgotten(key string) {
	x.Helper()
	_, err := x.store.Recall(x.Context(), keyOf(key), window)
	wants(x, "recalling "+key, err, store.ErrNotFound)
}

// rememberKey keeps a key and returns its sighting.
func (x *fixture) rememberKey(key string) store.Sighting {
	x.Helper()
	seen, err := x.store.Remember(x.Context(), keyOf(key), x.ids.next(), window)
	if err != nil {
		x.Fatalf("Remember of %s: %v", key, err)
	}
	return plainSighting(seen)
}

func plainSighting(s store.Sighting) store.Sighting {
	s.AcceptedAt = instant(s.AcceptedAt)
	return s
}

func checkKeyUnknown(x *fixture) {
	x.forgotten("k")
	x.forgotten("k") // looking has not made it known
	same(x, "verdict", x.accept(x.keyed("k", "a")).Verdict, store.Fresh)
}

func checkKeyKept(x *fixture) {
	id, now := x.ids.next(), x.clock.Now()
	seen, err := x.store.Remember(x.Context(), keyOf("k"), id, window)
	if err != nil {
		x.Fatalf("Remember: %v", err)
	}
	want := store.Sighting{Message: id, AcceptedAt: instant(now)}
	same(x, "remembered", plainSighting(seen), want)
	x.clock.advance(time.Hour)
	same(x, "recalled", x.recall("k"), want)
	x.forgotten("other")
	_, err = x.store.Message(x.Context(), id)
	wants(x, "reading the message of a key alone", err, store.ErrNotFound)
	listed, err := x.store.ListMessages(x.Context(), store.MessageQuery{Limit: everything})
	if err != nil || len(listed) != 0 {
		x.Errorf("%d messages listed, %v", len(listed), err)
	}
}

func checkKeyFirst(x *fixture) {
	first := x.rememberKey("k")
	x.clock.advance(time.Hour)
	same(x, "remembered again", x.rememberKey("k"), first)
	same(x, "recalled", x.recall("k"), first)
}

func checkKeyExpires(x *fixture) {
	first := x.rememberKey("k")
	for range 6 {
		x.clock.advance(24 * time.Hour)
		same(x, "recalled", x.recall("k"), first)
		same(x, "remembered again", x.rememberKey("k"), first)
	}
	_, err := x.store.Recall(x.Context(), keyOf("k"), time.Hour)
	wants(x, "recalling within a shorter window", err, store.ErrNotFound)
	x.expire(first.AcceptedAt, window)
	x.forgotten("k")
	again := x.rememberKey("k")
	same(x, "it is a new one", again.Message != first.Message && again.AcceptedAt.After(first.AcceptedAt), true)
	same(x, "recalled", x.recall("k"), again)
}

func checkKeyOfMessage(x *fixture) {
	o := x.accept(x.keyed("k", "a"))
	want := store.Sighting{Message: o.Message, AcceptedAt: instant(o.AcceptedAt)}
	same(x, "recalled", x.recall("k"), want)
	same(x, "remembered", x.rememberKey("k"), want)
	x.repeat("k", false, o, store.DuplicateOpen)
}

func checkKeyThenMessage(x *fixture) {
	seen := x.rememberKey("k")
	x.clock.advance(time.Hour)
	for _, redeliver := range []bool{false, true} {
		answer := x.repeat("k", redeliver, store.Accepted{Message: seen.Message, AcceptedAt: seen.AcceptedAt}, store.DuplicatePurged)
		same(x, "number of deliveries", len(answer.Deliveries), 0)
	}
	x.expire(seen.AcceptedAt, window)
	same(x, "verdict after the window", x.accept(x.keyed("k", "a")).Verdict, store.Fresh)
}

func checkKeyOutlivesPurge(x *fixture) {
	seen := x.rememberKey("k")
	for range 6 {
		x.clock.advance(24 * time.Hour)
		if _, err := x.store.Purge(x.Context(), store.PurgeRequest{Finished: time.Hour, DedupeWindow: window}); err != nil {
			x.Fatalf("Purge: %v", err)
		}
		same(x, "recalled", x.recall("k"), seen)
	}
}

func checkKeyZero(x *fixture) {
	_, err := x.store.Recall(x.Context(), store.DedupeKey{}, window)
	wants(x, "recalling a zero key", err, store.ErrInvalid)
	_, err = x.store.Remember(x.Context(), store.DedupeKey{}, x.ids.next(), window)
	wants(x, "remembering a zero key", err, store.ErrInvalid)
	_, err = x.store.Remember(x.Context(), keyOf("k"), store.MessageID{}, window)
	wants(x, "remembering a zero id", err, store.ErrInvalid)
	x.forgotten("k")
}

func checkKeyConcurrent(x *fixture) {
	var mu sync.Mutex
	ids := make(map[store.MessageID]bool)
	x.together(func(int) {
		for range rounds {
			seen, err := x.store.Remember(x.Context(), keyOf("k"), x.ids.next(), window)
			if err != nil {
				x.Errorf("Remember: %v", err)
				return
			}
			mu.Lock()
			ids[seen.Message] = true
			mu.Unlock()
		}
	})
	same(x, "number of ids under one key", len(ids), 1)
}
