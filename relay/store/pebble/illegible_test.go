// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

func TestAnEntityThatCanNotBeReadHidesNoOtherAndIsDeleted(t *testing.T) {
	for name, record := range map[string]string{
		"cut off": "\x0a\xff", "empty": "", "of another": string(appendString(nil, 2, "a")),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open("store", Options{FS: vfs.NewMem()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			for _, id := range []string{"a", "b", "c"} {
				if err := s.PutEntity(t.Context(), &store.Job{ID: id}); err != nil {
					t.Fatal(err)
				}
			}
			harmed := store.EntityKey{Kind: store.KindJob, ID: "b"}
			if err := s.db.Set(appendEntityKey(nil, harmed), []byte(record), pebble.NoSync); err != nil {
				t.Fatal(err)
			}
			if got := listedEntities(t, s); got != "[a (b) c]" {
				t.Errorf("listed are %s", got)
			}
			if _, err := s.Entity(t.Context(), harmed); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("reading it: %v", err)
			}
			if err := s.PutEntity(t.Context(), &store.Job{ID: "b"}); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("putting it anew: %v", err)
			}
			if err := s.DeleteEntity(t.Context(), harmed); err != nil {
				t.Errorf("deleting it: %v", err)
			}
			if got := listedEntities(t, s); got != "[a c]" {
				t.Errorf("listed are %s after it was deleted", got)
			}
		})
	}
}

// listedEntities lists the ids of all jobs in pages of two, those that can not be
// read in brackets.
func listedEntities(t *testing.T, s *Store) string {
	t.Helper()
	var ids []string
	q := store.EntityQuery{Kind: store.KindJob, Limit: 2}
	for range 5 {
		page, err := s.ListEntities(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			q.After = e.Key().ID
			if harmed, ok := e.(*store.Illegible); ok && errors.Is(harmed.Err, store.ErrCorrupt) {
				ids = append(ids, "("+q.After+")")
			} else {
				ids = append(ids, q.After)
			}
		}
	}
	return fmt.Sprint(ids)
}
