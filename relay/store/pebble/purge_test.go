// SPDX-License-Identifier: Apache-2.0

package pebble_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// noise fills a body with what no compression makes smaller.
func noise(a *store.Acceptance, size int) {
	r := rand.NewPCG(rand.Uint64(), 0)
	body := make([]byte, 0, size)
	for len(body) < size {
		body = binary.LittleEndian.AppendUint64(body, r.Uint64())
	}
	a.Message.Request.Body, a.Message.BodySum = body, sha256.Sum256(body)
}

// fillFinished accepts and finishes messages, a hundred at a time, and returns those that have died.
func fillFinished(t *testing.T, s *pebble.Store, messages, size int, end func(i int) store.State) (dead []store.Acceptance) {
	t.Helper()
	for i := 0; i < messages; i += 100 {
		var batch []store.Acceptance
		for j := range 100 {
			a := message(i + j)
			noise(&a, size)
			a.Message.BodySum = sha256.Sum256(a.Message.Request.Body)
			a.Deliveries[0].Lease = time.Minute
			batch = append(batch, a)
		}
		answers, err := s.Accept(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		var finish []store.Finish
		for j, a := range answers {
			state := end(i + j)
			if state == store.Dead {
				dead = append(dead, batch[j])
			}
			finish = append(finish, store.Finish{Lease: a.Deliveries[0].Lease(), State: state})
		}
		if _, err := s.Finish(t.Context(), finish); err != nil {
			t.Fatal(err)
		}
	}
	return dead
}

// diskUse returns the size of all files of a store but its ballast.
func diskUse(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && d.Name() != "ballast" {
			sum += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestC17_PurgeGivesSpaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := openInBubble(t, dir, pebble.Options{MemTableSize: 1 << 20})
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		const messages = 3000
		stay := fillFinished(t, s, messages, 8<<10, func(i int) store.State {
			if i%100 == 50 { // one in a hundred is not to be purged
				return store.Dead
			}
			return store.Delivered
		})
		rest() // they have to be older than a microsecond
		before := diskUse(t, dir)
		p, err := s.Purge(t.Context(), store.PurgeRequest{Finished: time.Microsecond})
		if err != nil || p.Messages != messages-len(stay) {
			t.Fatalf("Purge: %+v, %v", p, err)
		}
		rest()
		if after := diskUse(t, dir); after > before/2 {
			t.Errorf("%d bytes of %d are still in use", after, before)
		}
		for _, a := range stay {
			checkHas(t, s, a)
		}
		for _, q := range []store.MessageQuery{{}, {Source: "s"}} {
			q.Limit = messages
			left, err := s.ListMessages(t.Context(), q)
			if err != nil || len(left) != len(stay) {
				t.Errorf("ListMessages(%+v): %d of %d, %v", q, len(left), len(stay), err)
			}
		}
	})
}

func TestDiskUseIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for range 2 {
			s := openInBubble(t, dir, pebble.Options{MemTableSize: 256 << 10})
			for i := range 20 {
				a := message(i)
				noise(&a, 100<<10)
				if _, err := accept(s, a); err != nil {
					t.Fatal(err)
				}
			}
			rest()
			use, h := diskUse(t, dir), s.Health()
			if used := int64(h.UsedBytes); h.FreeBytes == 0 || used < use*8/10 || used > use*12/10 {
				t.Errorf("Health: %+v, with files of %d bytes", h, use)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
}
