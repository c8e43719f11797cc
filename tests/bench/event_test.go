// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// The vector was made by stripe-node 23.1.0 (webhooks.generateTestHeaderString) and accepted by its constructEvent.
func TestSignatureMatchesStripe(t *testing.T) {
	const (
		secret = "whsec_test_secret"
		want   = "8e380f5c057c7a6e1eaefb6c94a75f602b4eb6ceff6bb6379a906a59c77419ac"
		body   = "{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\",\n  \"api_version\": \"2025-06-30.basil\",\n" +
			"  \"type\": \"invoice.paid\",\n  \"data\": {\n    \"object\": {\n      \"id\": \"in_1\",\n      \"object\": \"invoice\",\n" +
			"      \"note\": \"Zo\u00eb \u2014 \u65e5\u672c\u8a9e \u2028 </script>\"\n    }\n  }\n}"
	)
	got := appendSignature(nil, hmac.New(sha256.New, []byte(secret)), "1750000000", []byte(body))
	if string(got) != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}

func TestEventsAreSignedDistinctAndOfTheSize(t *testing.T) {
	const first, n, size = 1_234_560, 200, 1024
	now := time.Unix(1_750_000_000, 0)
	b, err := newBatch("00c0ffee", first, n, size, now)
	if err != nil {
		t.Fatal(err)
	}
	if b.len() != n {
		t.Fatalf("%d events, want %d", b.len(), n)
	}
	for seq := range n {
		body := b.appendBody(nil, seq)
		if len(body) != size || !json.Valid(body) {
			t.Fatalf("event %d: %d bytes, valid JSON %v", seq, len(body), json.Valid(body))
		}
		if got, ok := parseID(body, "00c0ffee"); !ok || got != first+seq {
			t.Fatalf("event %d: parsed as %d, %v", seq, got, ok)
		}
		mac := hmac.New(sha256.New, []byte(signingSecret))
		want := "t=1750000000,v1=" + string(appendSignature(nil, mac, "1750000000", body))
		if got := string(b.appendHeader(nil, seq)); got != want {
			t.Fatalf("event %d: header %s, want %s", seq, got, want)
		}
	}
}

func TestForeignBodiesHaveNoID(t *testing.T) {
	const tag = "00c0ffee"
	good := idPrefix + tag + `_000000007"`
	for name, body := range map[string]string{
		"empty":         "",
		"cut short":     good[:len(good)-2],
		"other tag":     strings.Replace(good, tag, "deadbeef", 1),
		"not a number":  strings.Replace(good, "07", "x7", 1),
		"another field": strings.Replace(good, "id", "no", 1),
	} {
		if seq, ok := parseID([]byte(body), tag); ok {
			t.Errorf("%s: parsed as %d", name, seq)
		}
	}
	if seq, ok := parseID([]byte(good), tag); !ok || seq != 7 {
		t.Errorf("a good body: %d, %v", seq, ok)
	}
}

func TestBatchRefusesBodiesTooSmallForAnEvent(t *testing.T) {
	if _, err := newBatch("00c0ffee", 0, 1, 64, time.Now()); err == nil {
		t.Error("no error for a body of 64 bytes")
	}
}
