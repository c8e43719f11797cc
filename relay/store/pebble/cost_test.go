// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// costGroup is how many messages one commit of BenchmarkMessage accepts, and how
	// many deliveries one finishes; costBehind how many groups later that is.
	costGroup  = 32
	costBehind = 2
)

// BenchmarkMessage measures what a message costs that is handed over as it is
// accepted and ends with its first attempt, with all that is done for it in the
// background, in a store that is emptied at the end. Put TMPDIR on a file system
// in memory and set GOMAXPROCS=1 to have its time be processor time.
func BenchmarkMessage(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	first := sequence(b, s)
	b.ReportAllocs()
	b.ResetTimer()
	var under [][]store.Lease
	for n := 0; n < b.N; n += costGroup {
		under = append(under, acceptGroup(b, s, n))
		if len(under) > costBehind {
			finishGroup(b, s, under[0])
			under = under[1:]
		}
	}
	for _, leases := range under {
		finishGroup(b, s, leases)
	}
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	keys := sequence(b, s) - first
	m := s.db.Metrics()
	var flushed, compacted uint64
	for _, l := range m.Levels {
		flushed += l.TableBytesFlushed + l.BlobBytesFlushed
		compacted += l.TableBytesCompacted + l.BlobBytesCompacted - l.BlobBytesFlushed // which Pebble counts as both
	}
	report := func(n uint64, unit string) { b.ReportMetric(float64(n)/float64(b.N), unit) }
	report(keys, "keys/op")
	report(m.WAL.BytesWritten, "wal-B/op")
	report(flushed, "flushed-B/op")
	report(compacted, "compacted-B/op")
	report(m.DiskSpaceUsage()-m.WAL.PhysicalSize-m.WAL.ObsoletePhysicalSize, "disk-B/op")
}

// BenchmarkRareType measures a page of the messages of a type that one in ten
// thousand has, among a million of eight sources.
func BenchmarkRareType(b *testing.B) {
	const messages, every = 1_000_000, 10_000
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for n := 0; n < messages; n += 1000 {
		batch := make([]store.Acceptance, 1000)
		for i := range batch {
			batch[i] = costMessage(n + i)
			m := batch[i].Message
			m.Source, m.Request.Header, m.Request.Body = fmt.Sprint("shop", i%8), nil, nil
			if (n+i)%every == 0 {
				m.Type = "order.lost"
			}
		}
		if _, err := s.Accept(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("ListMessages", func(b *testing.B) {
		for b.Loop() {
			if found, err := s.ListMessages(b.Context(), store.MessageQuery{Type: "order.lost", Limit: 100}); err != nil || len(found) != messages/every {
				b.Fatalf("%d messages, %v", len(found), err)
			}
		}
	})
	b.Run("ListDeliveries", func(b *testing.B) {
		for b.Loop() {
			if found, err := s.ListDeliveries(b.Context(), store.DeliveryQuery{Type: "order.lost", Limit: 100}); err != nil || len(found) != messages/every {
				b.Fatalf("%d deliveries, %v", len(found), err)
			}
		}
	})
}

// sequence returns the number of a key that is written now.
func sequence(tb testing.TB, s *Store) uint64 {
	tb.Helper()
	batch := s.db.NewBatch()
	_ = batch.Set([]byte{spaceMeta, 'n'}, nil, nil)
	if err := batch.Commit(pebble.NoSync); err != nil {
		tb.Fatal(err)
	}
	return uint64(batch.SeqNum())
}

func acceptGroup(tb testing.TB, s *Store, n int) (leases []store.Lease) {
	tb.Helper()
	batch := make([]store.Acceptance, costGroup)
	for i := range batch {
		batch[i] = costMessage(n + i)
	}
	answers, err := s.Accept(tb.Context(), batch)
	if err != nil {
		tb.Fatal(err)
	}
	for _, a := range answers {
		leases = append(leases, a.Deliveries[0].Lease())
	}
	return leases
}

func finishGroup(tb testing.TB, s *Store, leases []store.Lease) {
	tb.Helper()
	batch := make([]store.Finish, len(leases))
	for i, l := range leases {
		batch[i] = store.Finish{Lease: l, State: store.Delivered, Attempt: &store.Attempt{
			StartedAt: s.Now(), Duration: 1234 * time.Microsecond, Outcome: store.Succeeded, Status: 200, Head: []byte("ok"),
		}}
	}
	if _, err := s.Finish(tb.Context(), batch); err != nil {
		tb.Fatal(err)
	}
}

// costBodies and costHeader are what messages are made of, made before the time
// is taken.
var (
	costBodies = func() []byte {
		var b []byte
		for n := range uint64(1 << 14) {
			b = fmt.Appendf(b, "%x", sha256.Sum256(binary.BigEndian.AppendUint64(nil, n)))
		}
		return b
	}()
	costHeader = func() map[string][]string {
		h := make(map[string][]string)
		for i := range 12 {
			h[fmt.Sprint("X-Header-", i)] = []string{"a value of the usual length"}
		}
		return h
	}()
)

// costMessage returns the n-th of messages as services send them.
func costMessage(n int) store.Acceptance {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	at := n * 997 % (len(costBodies) - 1024)
	m := &store.Message{
		ID: store.MessageID(ulid.Make()), Source: "shop", Type: "order.paid", EventID: "evt_" + string(costBodies[at:at+24]),
		VerifiedBy: "stripe", ReceivedAt: time.Now(), BodySum: sum,
		Request: store.Request{Method: "POST", URI: "/hooks/shop", Host: "example.com", Header: costHeader, Body: costBodies[at : at+1024]},
	}
	return store.Acceptance{
		Message: m, Key: store.DedupeKey(sum[:16]), Window: 7 * 24 * time.Hour,
		Deliveries: []store.NewDelivery{{Destination: "shop/0", Lease: time.Minute}},
	}
}
