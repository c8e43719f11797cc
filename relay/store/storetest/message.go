// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var messageChecks = []check{
	{"P7_comes_back_as_it_was", checkMessageWhole},
	{"P7_body_of_any_bytes_comes_back", checkMessageBodies},
	{"P7_headers_of_any_bytes_come_back", checkMessageHeaders},
	{"with_nothing_but_an_id_comes_back", checkMessageBare},
	{"keeps_its_times_to_the_microsecond", checkMessageTimes},
	{"is_not_shared_with_the_caller", checkMessageOwned},
}

// stored accepts a message and returns it as it is read back.
func (x *fixture) stored(m *store.Message) *store.Message {
	x.Helper()
	x.accept(store.Acceptance{Message: m, Deliveries: to(0, "a")})
	return x.read(m.ID)
}

func (x *fixture) read(id store.MessageID) *store.Message {
	x.Helper()
	m, err := x.store.Message(x.Context(), id)
	if err != nil {
		x.Fatalf("Message %s: %v", id, err)
	}
	return m
}

func checkMessageWhole(x *fixture) {
	m := x.ids.message("shop")
	m.PublicID = "msg_public"
	m.Tenant = "tenant-1"
	m.EventID = "evt \x00\xff"
	m.Type = "order/paid \xfe"
	m.VerifiedBy = "stripe"
	m.Request = store.Request{
		Method:       "PROPFIND",
		URI:          "/hook%2Fa?x=%00&y=\xff",
		SentURI:      "/outer/hook%2Fa?x=%00&y=\xff",
		Host:         "example.com:8443",
		RemoteAddr:   "192.0.2.1:4711",
		LocalAddr:    "[2001:db8::1]:443",
		ClientIP:     "198.51.100.7",
		TrustedProxy: true,
		TLS:          true,
		Header:       http.Header{"X-Signature": {"t=1,v1=abc"}},
		Body:         []byte("body"),
	}
	m.BodySum = sha256.Sum256([]byte("another body, which the store does not check"))
	same(x, "message", plainMessage(*x.stored(m)), plainMessage(*m))

	plain := x.ids.message("shop")
	plain.Request.TrustedProxy, plain.Request.TLS = false, true
	same(x, "message", plainMessage(*x.stored(plain)), plainMessage(*plain))
}

func checkMessageBodies(x *fixture) {
	random := make([]byte, 5<<20)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(random)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, body := range [][]byte{nil, {}, {0}, []byte("\r\n"), all, bytes.Repeat([]byte("a"), 1<<20), random[:1<<16+1], random} {
		m := x.ids.message("shop")
		m.Request.Body = body
		m.BodySum = sha256.Sum256(body)
		got := x.stored(m)
		if !bytes.Equal(got.Request.Body, body) {
			x.Fatalf("body of %d bytes came back as another one of %d bytes", len(body), len(got.Request.Body))
		}
		if !got.Intact() {
			x.Fatalf("body of %d bytes is not intact", len(body))
		}
	}
}

func checkMessageHeaders(x *fixture) {
	m := x.ids.message("shop")
	m.Request.Header = http.Header{
		"X-Bytes":  {"caf\xe9", "\xff\xfe\x00\x01", "\u2615"},
		"X-Empty":  {""},
		"X-Order":  {"b", "a", "b", ""},
		"X-Space":  {" padded ", "tab\t"},
		"X-Long":   {string(bytes.Repeat([]byte("v"), 64<<10))},
		"X-\x80-Y": {"name that is no token"},
	}
	for i := range 500 {
		m.Request.Header[fmt.Sprintf("X-Many-%d", i)] = []string{fmt.Sprint(i), fmt.Sprint(-i)}
	}
	same(x, "headers", x.stored(m).Request.Header, m.Request.Header)
}

func checkMessageBare(x *fixture) {
	m := &store.Message{ID: x.ids.next()}
	same(x, "message", plainMessage(*x.stored(m)), plainMessage(*m))
}

func checkMessageTimes(x *fixture) {
	for _, at := range []time.Time{
		x.clock.Now().Add(time.Microsecond),
		x.clock.Now().Add(-999 * time.Microsecond),
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(2038, 1, 19, 3, 14, 8, 1000, time.UTC),
		time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		m := x.ids.message("shop")
		m.ReceivedAt = at
		got := x.stored(m).ReceivedAt
		same(x, "time", instant(got), at)
		same(x, "time zone", got.Location(), time.UTC)
	}
}

func checkMessageOwned(x *fixture) {
	a := x.keyed("k", "a")
	want := plainMessage(*a.Message)
	want.Request.Header = want.Request.Header.Clone()
	want.Request.Body = slices.Clone(want.Request.Body)
	answer := x.accept(a)
	spoil(a.Message)
	a.Deliveries[0].Destination = "spoilt"
	same(x, "message after its giver wrote to it", plainMessage(*x.read(want.ID)), want)
	spoil(x.read(want.ID))
	listed, err := x.store.ListMessages(x.Context(), store.MessageQuery{Limit: 1})
	if err != nil || len(listed) != 1 {
		x.Fatalf("ListMessages: %d messages, error %v", len(listed), err)
	}
	spoil(&listed[0])
	same(x, "message after its reader wrote to it", plainMessage(*x.read(want.ID)), want)
	answer.Deliveries[0].State = store.Dead
	x.deliveries(want.ID)[0].State = store.Dead
	x.claim("a", 1).Deliveries[0].Destination = "spoilt"
	d := x.delivery(store.DeliveryID{Message: want.ID, N: 1})
	same(x, "destination", d.Destination, "a")
	same(x, "state", d.State, store.Leased)
}

// spoil overwrites what a message refers to.
func spoil(m *store.Message) {
	clear(m.Request.Body)
	for name, values := range m.Request.Header {
		for i := range values {
			values[i] = "spoilt"
		}
		m.Request.Header[name+"-Spoilt"] = values
	}
	m.Source = "spoilt"
}
