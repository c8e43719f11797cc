// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Times that most checks use.
const (
	window = 7 * 24 * time.Hour
	grace  = 24 * time.Hour
	lease  = 30 * time.Second
)

// fixture is an open store with its clock, and what makes a check short.
type fixture struct {
	*testing.T
	clock   *clock
	backend Backend
	store   store.Store
	ids     *idSource
}

func newFixture(t *testing.T, f Factory) *fixture {
	t.Helper()
	c := newClock()
	b := f(t, c.Now)
	x := &fixture{T: t, clock: c, backend: b, store: b.Store, ids: &idSource{clock: c}}
	t.Cleanup(func() {
		if err := x.store.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Errorf("closing store: %v", err)
		}
	})
	return x
}

// idSource makes message ids that grow, at the time of the clock.
type idSource struct {
	clock *clock
	last  atomic.Uint64
}

func (s *idSource) next() store.MessageID {
	var id ulid.ULID
	if err := id.SetTime(ulid.Timestamp(s.clock.Now())); err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint64(id[8:], s.last.Add(1))
	return store.MessageID(id)
}

// message returns a message that has everything, received now.
func (s *idSource) message(source string) *store.Message {
	id := s.next()
	body := fmt.Appendf(nil, `{"id":%q}`, id)
	return &store.Message{
		ID:         id,
		Source:     source,
		Type:       "order.paid",
		EventID:    "evt_" + id.String(),
		VerifiedBy: "hmac",
		ReceivedAt: s.clock.Now(),
		BodySum:    sha256.Sum256(body),
		Request: store.Request{
			Method: http.MethodPost,
			URI:    "/hook?a=b",
			Host:   "example.com",
			Header: http.Header{"Content-Type": {"application/json"}},
			Body:   body,
		},
	}
}

// acceptance returns what asks to accept a new message with deliveries to the
// given destinations, pending and without a key.
func (x *fixture) acceptance(destinations ...string) store.Acceptance {
	return store.Acceptance{Message: x.ids.message("shop"), Window: window, Deliveries: to(0, destinations...)}
}

// keyed returns an acceptance with a dedupe key.
func (x *fixture) keyed(key string, destinations ...string) store.Acceptance {
	a := x.acceptance(destinations...)
	a.Key = keyOf(key)
	return a
}

// to asks for deliveries to destinations, leased where lease is positive.
func to(lease time.Duration, destinations ...string) []store.NewDelivery {
	var all []store.NewDelivery
	for _, d := range destinations {
		all = append(all, store.NewDelivery{Destination: d, Lease: lease})
	}
	return all
}

func keyOf(s string) store.DedupeKey {
	sum := sha256.Sum256([]byte(s))
	return store.DedupeKey(sum[:16])
}

// accept accepts one message and returns the answer.
func (x *fixture) accept(a store.Acceptance) store.Accepted {
	x.Helper()
	return x.acceptAll(a)[0]
}

// acceptAll accepts a batch and returns the answers.
func (x *fixture) acceptAll(batch ...store.Acceptance) []store.Accepted {
	x.Helper()
	answers, err := x.store.Accept(x.Context(), batch)
	if err != nil {
		x.Fatalf("Accept: %v", err)
	}
	if len(answers) != len(batch) {
		x.Fatalf("Accept of %d answered %d", len(batch), len(answers))
	}
	for i, answer := range answers {
		if answer.Verdict == store.Fresh && len(answer.Deliveries) != len(batch[i].Deliveries) {
			x.Fatalf("Accept with %d deliveries answered %d", len(batch[i].Deliveries), len(answer.Deliveries))
		}
	}
	return answers
}

// leased accepts a message with one delivery that is leased from the start.
func (x *fixture) leased(destination string) store.Delivery {
	x.Helper()
	a := x.acceptance()
	a.Deliveries = to(lease, destination)
	return x.only(x.accept(a).Deliveries)
}

// pending accepts a message with one delivery that is pending.
func (x *fixture) pending(destination string) store.Delivery {
	x.Helper()
	return x.only(x.accept(x.acceptance(destination)).Deliveries)
}

// only returns the one delivery of a list.
func (x *fixture) only(all []store.Delivery) store.Delivery {
	x.Helper()
	if len(all) != 1 {
		x.Fatalf("%d deliveries, want 1", len(all))
	}
	return all[0]
}

// ended accepts a message with one delivery that has reached a final state.
func (x *fixture) ended(destination string, state store.State) store.Delivery {
	x.Helper()
	d := x.leased(destination)
	return x.finish(store.Finish{Lease: d.Lease(), State: state}).Delivery
}

// claim claims up to limit deliveries of a destination.
func (x *fixture) claim(destination string, limit int) store.Claimed {
	x.Helper()
	c, err := x.store.Claim(x.Context(), store.ClaimRequest{Destination: destination, Limit: limit, Lease: lease})
	if err != nil {
		x.Fatalf("Claim of %s: %v", destination, err)
	}
	return c
}

// claimOne claims one delivery of a destination, which must have one that is due.
func (x *fixture) claimOne(destination string) store.Delivery {
	x.Helper()
	return x.only(x.claim(destination, 1).Deliveries)
}

// finishAll finishes a batch and returns the answers.
func (x *fixture) finishAll(batch ...store.Finish) []store.Finished {
	x.Helper()
	answers, err := x.store.Finish(x.Context(), batch)
	if err != nil {
		x.Fatalf("Finish: %v", err)
	}
	if len(answers) != len(batch) {
		x.Fatalf("Finish of %d answered %d", len(batch), len(answers))
	}
	return answers
}

// finish finishes one delivery, whose lease must hold.
func (x *fixture) finish(f store.Finish) store.Finished {
	x.Helper()
	answer := x.finishAll(f)[0]
	if answer.Err != nil {
		x.Fatalf("Finish of %s as %s: %v", f.Lease.Delivery, f.State, answer.Err)
	}
	return answer
}

// delivery reads a delivery.
func (x *fixture) delivery(id store.DeliveryID) store.Delivery {
	x.Helper()
	all := x.deliveries(id.Message)
	if id.N == 0 || int(id.N) > len(all) {
		x.Fatalf("delivery %s is not among the %d of its message", id, len(all))
	}
	return all[id.N-1]
}

// deliveries reads the deliveries of a message.
func (x *fixture) deliveries(id store.MessageID) []store.Delivery {
	x.Helper()
	all, err := x.store.Deliveries(x.Context(), id)
	if err != nil {
		x.Fatalf("Deliveries of %s: %v", id, err)
	}
	return all
}

// attempts reads the attempts of a delivery.
func (x *fixture) attempts(id store.DeliveryID) []store.Attempt {
	x.Helper()
	all, err := x.store.Attempts(x.Context(), id)
	if err != nil {
		x.Fatalf("Attempts of %s: %v", id, err)
	}
	return all
}

// books reads the books of one destination, and checks that all add up. The open
// bytes have been compared with the deliveries, and are left out.
func (x *fixture) books(destination string) store.Books {
	x.Helper()
	books, err := x.store.Books(x.Context())
	if err != nil {
		x.Fatalf("Books: %v", err)
	}
	for d, b := range books {
		if !b.Balanced() {
			x.Fatalf("books of %q do not add up: %+v", d, b)
		}
	}
	open, err := x.store.ListDeliveries(x.Context(), store.DeliveryQuery{Open: true, Limit: everything})
	if err != nil {
		x.Fatalf("ListDeliveries: %v", err)
	}
	checkOpenBytes(x, books, open)
	b := books[destination]
	b.OpenBytes = 0
	return b
}

// checkOpenBytes fails the test where the books do not say how large the bodies of
// the open deliveries are.
func checkOpenBytes(r reporter, books map[string]store.Books, open []store.Delivery) {
	r.Helper()
	sizes := make(map[string]uint64)
	for i := range open {
		sizes[open[i].Destination] += uint64(open[i].BodySize)
	}
	for d, b := range books {
		if b.OpenBytes != sizes[d] {
			r.Fatalf("books of %q have %d open bytes, and its open deliveries %d", d, b.OpenBytes, sizes[d])
		}
	}
}
