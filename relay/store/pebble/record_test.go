// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// samples are records with every field set.
func sampleMessage() *store.Message {
	at := time.UnixMicro(1_700_000_000_123_456).UTC()
	return &store.Message{
		ID: store.MessageID{1}, PublicID: "msg_public", Source: "s", Tenant: "t", EventID: "e", Type: "order.paid",
		VerifiedBy: "stripe", ReceivedAt: at, BodySum: [32]byte{1, 2},
		Request: store.Request{
			Method: "POST", URI: "/x?y=\xff", SentURI: "/sent\xff", Host: "h", RemoteAddr: "r", LocalAddr: "l", ClientIP: "c",
			TrustedProxy: true, TLS: true,
			Header: http.Header{"A": {"1", "", "2"}, "B": {"\xff\x00"}, "": {"no name"}, "None": {}},
			Body:   []byte("body"),
		},
	}
}

func sampleDelivery() store.Delivery {
	at := time.UnixMicro(0).UTC()
	return store.Delivery{
		ID: store.DeliveryID{N: 1}, Destination: "d", State: store.Waiting, DueAt: at, CreatedAt: at.Add(-time.Hour),
		Since: at.Add(time.Second), EndedAt: at, Attempts: 1, Tries: 2, Generation: 3, ReplayOf: 4, OrderKey: "k", Place: 1<<40 + 7,
		Epoch: 1 << 40, LastStatus: 503, LastError: "no", BodySize: 1 << 20,
	}
}

// sampleEnd is the last attempt of the sample of a delivery.
func sampleEnd() *store.Attempt {
	return &store.Attempt{
		Number: 1, StartedAt: time.UnixMicro(0).UTC(), Duration: time.Hour, Outcome: store.Refused, Status: 503, Error: "no", Head: []byte("head"),
	}
}

func encodeMessage(m *store.Message) []byte {
	head := appendHead(nil, m)
	b := binary.AppendUvarint(nil, uint64(len(head)))
	return append(append(b, head...), m.Request.Body...)
}

func TestRecordsComeBackWhole(t *testing.T) {
	m := sampleMessage()
	got, err := decodeMessage(m.ID, encodeMessage(m))
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("message: %+v, %v", got, err)
	}
	d := sampleDelivery()
	if got, err := decodeDelivery(d.ID, appendDeliveryRecord(nil, &d, nil)); err != nil || got != d {
		t.Errorf("delivery: %+v, %v", got, err)
	}
	last := sampleEnd()
	if got, end, err := decodeRow(d.ID, appendDeliveryRecord(nil, &d, last), true); err != nil || got != d || !reflect.DeepEqual(end, last) {
		t.Errorf("delivery: %+v with %+v, %v", got, end, err)
	}
	a := store.Attempt{
		Number: 3, StartedAt: time.UnixMicro(-5).UTC(), Duration: time.Second, Outcome: store.Broken, Status: 200,
		Error: "cut", Head: []byte("head"), Superseded: true,
	}
	if got, err := decodeAttempt(a.Number, appendAttemptRecord(nil, &a)); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("attempt: %+v, %v", got, err)
	}
	for _, k := range []store.Books{{}, {Made: 6, Delivered: 1, Dead: 1, Canceled: 1, Open: 2, Deleted: 1, OpenBytes: 9}} {
		if got, err := decodeBooks(appendBooksRecord(nil, &k)); err != nil || got != k {
			t.Errorf("books: %+v, %v", got, err)
		}
	}
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	d := sampleDelivery()
	b := appendUint(appendString(nil, 1000, "new"), 1001, 7)
	b = append(b, 0xc5, 0x3e, 1, 2, 3, 4) // field 1000 as four fixed bytes
	b = appendDeliveryRecord(b, &d, sampleEnd())
	if got, err := decodeDelivery(d.ID, b); err != nil || got != d {
		t.Errorf("delivery: %+v, %v", got, err)
	}
}

// FuzzRecords feeds all decoders with what is not theirs: they return an error
// that wraps ErrCorrupt, or something.
func FuzzRecords(f *testing.F) {
	m, d := sampleMessage(), sampleDelivery()
	f.Add(encodeMessage(m))
	f.Add(appendDeliveryRecord(nil, &d, nil))
	f.Add(appendDeliveryRecord(nil, &d, sampleEnd()))
	f.Add(appendMap(nil, 12, map[string]string{"a": "b"}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		check := func(what string, err error) {
			if err != nil && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrInvalid) {
				t.Errorf("%s: %v", what, err)
			}
		}
		m, err := decodeMessage(store.MessageID{}, b)
		check("message", err)
		if err == nil {
			again, err := decodeMessage(store.MessageID{}, encodeMessage(m))
			if err != nil || !bytes.Equal(again.Request.Body, m.Request.Body) || len(again.Request.Header) != len(m.Request.Header) {
				t.Errorf("message does not come back: %+v, %v", again, err)
			}
		}
		_, _, err = decodeRow(store.DeliveryID{}, b, true)
		check("delivery", err)
		_, err = decodeAttempt(1, b)
		check("attempt", err)
		_, err = decodeBooks(b)
		check("books", err)
		_, err = decodeOrigin(b)
		check("origin", err)
		for _, kind := range []store.EntityKind{store.KindTenant, store.KindEndpoint, store.KindSubscription, store.KindSecret, store.KindEventType, store.KindPause, store.KindJob} {
			_, err = decodeEntity(kind, b)
			check(string(kind), err)
		}
		if !bytes.Equal(b, given) {
			t.Error("a decoder has written to what it was given")
		}
	})
}

func TestKeysSortAsTheirTimes(t *testing.T) {
	times := []time.Time{time.UnixMicro(-1 << 50), time.UnixMicro(-1), time.UnixMicro(0), time.UnixMicro(1), time.UnixMicro(1 << 50)}
	var last []byte
	for _, at := range times {
		key := appendDueKey(nil, &store.Delivery{Destination: "d", DueAt: at})
		if bytes.Compare(last, key) >= 0 {
			t.Errorf("key of %v does not sort after the one before", at)
		}
		if got := parseDue(key); !got.Equal(at) {
			t.Errorf("time of key is %v, want %v", got, at)
		}
		last = key
	}
}

func TestT20_FormatOfAnotherVersionIsRefused(t *testing.T) {
	for _, found := range []uint64{1, format - 1, format + 1} {
		fs := vfs.NewMem()
		s, err := Open("store", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.db.Set(formatKey, binary.BigEndian.AppendUint64(nil, found), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = Open("store", Options{FS: fs, LockWait: -1})
		want := fmt.Sprintf("%v: store has format %d, this version knows %d; run the version that wrote it, or choose another path for the store",
			store.ErrFormat, found, format)
		if !errors.Is(err, store.ErrFormat) || err.Error() != want {
			t.Errorf("Open: %v", err)
		}
		// It gave the lock back.
		if _, err = Open("store", Options{FS: fs, LockWait: -1}); !errors.Is(err, store.ErrFormat) {
			t.Errorf("second Open: %v", err)
		}
	}
}

func TestFatalErrorOfPebbleFailsTheStoreAndDoesNotReturn(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	f := newFailure(zap.New(core))
	l := &logger{zap: zap.NewNop(), failure: f}
	returned := make(chan struct{})
	go func() {
		l.Fatalf("MANIFEST sync failed: %v", errors.New("broken disk"))
		close(returned)
	}()
	<-f.ch
	if err := f.err(); !errors.Is(err, store.ErrFailed) {
		t.Errorf("error is %v", err)
	}
	select {
	case <-returned:
		t.Error("Fatalf returned")
	case <-time.After(20 * time.Millisecond):
	}
	if logs.Len() != 1 {
		t.Errorf("%d errors logged, want 1", logs.Len())
	}
}

func TestClockIgnoresSteps(t *testing.T) {
	c := newClock(nil)
	now := c.now()
	if now.Location() != time.UTC || now.Nanosecond()%1000 != 0 {
		t.Errorf("now is %v", now)
	}
	due := now.Add(time.Hour)
	timer := c.timer(due)
	if !timer.Round(0).Equal(due) {
		t.Errorf("timer for %v is %v", due, timer)
	}
	if wait := time.Until(timer); wait > time.Hour || wait < time.Hour-time.Minute {
		t.Errorf("time until the timer is %v", wait)
	}
}
