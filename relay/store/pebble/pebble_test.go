// SPDX-License-Identifier: Apache-2.0

package pebble_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
	"github.com/caddy-relay/caddy-relay/relay/store/storetest"
)

// backend opens a store that the suite may open again.
func backend(tb testing.TB, dir string, opts pebble.Options) storetest.Backend {
	s := open(tb, dir, opts)
	return storetest.Backend{Store: s, Reopen: func() store.Store {
		if err := s.Close(); err != nil {
			tb.Fatalf("Close: %v", err)
		}
		s = open(tb, dir, opts)
		return s
	}}
}

func open(tb testing.TB, dir string, opts pebble.Options) *pebble.Store {
	tb.Helper()
	s, err := pebble.Open(dir, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestT8_Disk(t *testing.T) {
	storetest.Run(t, func(tb testing.TB, now func() time.Time) storetest.Backend {
		return backend(tb, tb.TempDir(), pebble.Options{Now: now, Logger: zaptest.NewLogger(tb, zaptest.Level(zap.WarnLevel))})
	})
}

func TestT8_Memory(t *testing.T) {
	storetest.Run(t, func(tb testing.TB, now func() time.Time) storetest.Backend {
		return backend(tb, "store", pebble.Options{Now: now, FS: vfs.NewMem()})
	})
}
