// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// TestAMessageThatCanNotBeReadIsDeleted has the disk give other bytes back than it
// got.
func TestAMessageThatCanNotBeReadIsDeleted(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open("store", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	body := bytes.Repeat([]byte("find me "), 1000)
	m := &store.Message{ID: store.MessageID(ulid.Make()), Source: "shop", Request: store.Request{Body: body}}
	a := store.Acceptance{Message: m, Deliveries: []store.NewDelivery{{Destination: "d", Lease: time.Minute}}}
	bare := &store.Message{ID: store.MessageID(ulid.Make()), Source: "shop", Request: store.Request{Body: body}}
	accepted, err := s.Accept(t.Context(), []store.Acceptance{a, {Message: bare}})
	if err != nil {
		t.Fatal(err)
	}
	end := store.Finish{Lease: accepted[0].Deliveries[0].Lease(), State: store.Dead, Attempt: &store.Attempt{Outcome: store.Refused}}
	if _, err := s.Finish(t.Context(), []store.Finish{end}); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	harmBlobs(t, fs)
	if _, err := s.Message(t.Context(), m.ID); !errors.Is(err, store.ErrCorrupt) {
		t.Fatalf("reading the message: %v", err)
	}
	it, err := s.iterate([]byte{spaceMessage})
	if err != nil {
		t.Fatal(err)
	}
	it.First()
	if _, err := it.ValueAndErr(); !errors.Is(explainRead(err), store.ErrCorrupt) {
		t.Errorf("what Pebble calls corruption is %v", explainRead(err))
	}
	_ = it.Close()
	// One without deliveries, whose size nothing else tells.
	if _, err := s.Replay(t.Context(), bare.ID, "d"); err != nil {
		t.Errorf("replaying one that can not be read: %v", err)
	}
	answers, err := s.Operate(t.Context(), []store.Operation{{Action: store.ActionDelete, Delivery: store.DeliveryID{Message: m.ID}}})
	if err != nil || answers[0].Err != nil {
		t.Fatalf("deleting it: %+v, %v", answers, err)
	}
	if _, err := s.Message(t.Context(), m.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("reading it after that: %v", err)
	}
}

// harmBlobs changes a byte of all files of values.
func harmBlobs(t *testing.T, fs vfs.FS) {
	t.Helper()
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".blob") {
			continue
		}
		f, err := fs.OpenReadWrite(fs.PathJoin("store", name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 64)
		if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		b[40] ^= 0xff
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
