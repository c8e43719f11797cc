// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"hash/crc32"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

func TestEventIDsThatShareAHashAreToldApart(t *testing.T) {
	events := []string{"plumless", "buckeroo", "plumless"}
	if crc32.ChecksumIEEE([]byte(events[0])) != crc32.ChecksumIEEE([]byte(events[1])) {
		t.Fatal("they do not share one")
	}
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ids := make(map[string][]store.MessageID)
	for _, event := range events {
		m := &store.Message{ID: store.MessageID(ulid.Make()), EventID: event}
		ids[event] = append(ids[event], m.ID)
		if _, err := s.Accept(t.Context(), []store.Acceptance{{Message: m, Deliveries: []store.NewDelivery{{Destination: "d"}}}}); err != nil {
			t.Fatal(err)
		}
	}
	for event, want := range ids {
		messages, err := s.ListMessages(t.Context(), store.MessageQuery{EventID: event, Limit: len(want)})
		if err != nil || len(messages) != len(want) {
			t.Fatalf("ListMessages of %s: %d messages, error %v, want %d", event, len(messages), err, len(want))
		}
		for i, m := range messages { // newest first
			if m.ID != want[len(want)-1-i] {
				t.Errorf("ListMessages of %s: %s, want %s", event, m.ID, want[len(want)-1-i])
			}
		}
		found, err := s.ListDeliveries(t.Context(), store.DeliveryQuery{EventID: event, Limit: len(events)})
		if err != nil || len(found) != len(want) {
			t.Fatalf("ListDeliveries of %s: %d deliveries, error %v, want %d", event, len(found), err, len(want))
		}
		for i, d := range found {
			if d.ID.Message != want[i] {
				t.Errorf("ListDeliveries of %s: %s, want one of %s", event, d.ID, want[i])
			}
		}
	}
}
