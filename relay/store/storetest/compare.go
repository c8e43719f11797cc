// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// reporter is what the checks and the state machine have in common.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// instant brings a time to the precision that a store must keep.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// plainDelivery brings the times of a delivery to the precision of the suite.
func plainDelivery(d store.Delivery) store.Delivery {
	for _, t := range []*time.Time{&d.DueAt, &d.CreatedAt, &d.Since, &d.EndedAt, &d.LeaseUntil} {
		*t = instant(*t)
	}
	return d
}

// plainDeliveries does the same for a list, which is never nil.
func plainDeliveries(all []store.Delivery) []store.Delivery {
	plain := make([]store.Delivery, 0, len(all))
	for _, d := range all {
		plain = append(plain, plainDelivery(d))
	}
	return plain
}

// plainAttempts brings attempts to the precision of the suite; a head of no
// bytes and none are the same.
func plainAttempts(all []store.Attempt) []store.Attempt {
	plain := make([]store.Attempt, 0, len(all))
	for _, a := range all {
		a.StartedAt = instant(a.StartedAt)
		a.Duration = a.Duration.Truncate(time.Microsecond)
		if len(a.Head) == 0 {
			a.Head = nil
		}
		plain = append(plain, a)
	}
	return plain
}

// plainMessage does the same for a message, where a body of no bytes and none
// are the same, as are no headers and none.
func plainMessage(m store.Message) store.Message {
	m.ReceivedAt = instant(m.ReceivedAt)
	if len(m.Request.Body) == 0 {
		m.Request.Body = nil
	}
	if len(m.Request.Header) == 0 {
		m.Request.Header = http.Header{}
	}
	return m
}

// plainMessages does the same for a list, which is never nil.
func plainMessages(all []store.Message) []store.Message {
	plain := make([]store.Message, 0, len(all))
	for _, m := range all {
		plain = append(plain, plainMessage(m))
	}
	return plain
}

// plainAccepted does the same for the answer to an acceptance.
func plainAccepted(a store.Accepted) store.Accepted {
	a.AcceptedAt = instant(a.AcceptedAt)
	a.Deliveries = plainDeliveries(a.Deliveries)
	return a
}

// same fails the test where two values differ.
func same[V any](r reporter, what string, got, want V) {
	r.Helper()
	if !reflect.DeepEqual(got, want) {
		r.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// sameDelivery fails the test where two deliveries differ.
func sameDelivery(r reporter, what string, got, want store.Delivery) {
	r.Helper()
	same(r, what, plainDelivery(got), plainDelivery(want))
}

// wants fails the test where an error does not wrap the one that is expected.
func wants(r reporter, what string, err, target error) {
	r.Helper()
	if !errors.Is(err, target) {
		r.Fatalf("%s: error is %v, want one that wraps %q", what, err, target)
	}
}
