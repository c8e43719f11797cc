// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// dedupeFilter is a Bloom filter of the dedupe keys alone. They are the only
// ones that are mostly asked for in vain; filters of all keys would fill the
// small cache.
type dedupeFilter struct{ pebble.FilterPolicy }

// filterBits per key let one look-up in a hundred through.
const filterBits = 10

func newDedupeFilter() dedupeFilter { return dedupeFilter{bloom.FilterPolicy(filterBits)} }

// Name names the filter in the tables that have one.
func (dedupeFilter) Name() string { return "caddy-relay.dedupe" }

// MayContain reports whether the table may hold the key.
func (p dedupeFilter) MayContain(t pebble.FilterType, filter, key []byte) bool {
	if len(key) == 0 || key[0] != spaceDedupe {
		return true
	}
	return p.FilterPolicy.MayContain(t, filter, key)
}

// NewWriter returns what collects the keys of a table.
func (p dedupeFilter) NewWriter(t pebble.FilterType) pebble.FilterWriter {
	return dedupeFilterWriter{p.FilterPolicy.NewWriter(t)}
}

type dedupeFilterWriter struct{ pebble.FilterWriter }

// AddKey adds a key of the table.
func (w dedupeFilterWriter) AddKey(key []byte) {
	if len(key) > 0 && key[0] == spaceDedupe {
		w.FilterWriter.AddKey(key)
	}
}
