// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"bytes"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"
)

// A delivery that comes an hour late carries a signature made anew, see `resign`.
func TestStripeAcceptsADeliveryOneHourLate(t *testing.T) {
	const secret = "whsec_5Q3yT1wKX2m8"
	at(t, noon, func(t *testing.T) {
		r := post("https://example.com/stripe", "application/json; charset=utf-8", "{\n  \"id\": \"evt_1\",\n  \"object\": \"event\"\n}")
		signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: bytes.Clone(r.Body), Secret: secret})
		r.Header.Set("Stripe-Signature", signed.Header)
		v := compile(t, (&counterpart{preset: "stripe"}).scheme(t), secret)
		first, err := v.Verify(r, time.Now())
		if err != nil {
			t.Fatalf("as Stripe signed it: %v", err)
		}

		time.Sleep(time.Hour)

		late := r.Header.Get("Stripe-Signature")
		if err := webhook.ValidatePayload(r.Body, late, secret); !errors.Is(err, webhook.ErrTooOld) {
			t.Fatalf("the original an hour later: %v", err)
		}
		set, err := v.Sign(r, "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(r.Header, set)
		if err := webhook.ValidatePayload(r.Body, r.Header.Get("Stripe-Signature"), secret); err != nil {
			t.Errorf("signed anew: %v", err)
		}
		if len(set) != 1 {
			t.Errorf("more than the signature was changed: %v", set)
		}
		if event, err := webhook.ConstructEventWithOptions(r.Body, r.Header.Get("Stripe-Signature"), secret,
			webhook.ConstructEventOptions{IgnoreAPIVersionMismatch: true}); err != nil || event.ID != first.EventID {
			t.Errorf("event %q, %v; received as %q", event.ID, err, first.EventID)
		}
	})
}

// The same for every library: what they refuse an hour later they accept once it is signed anew, and the id that names
// the event stays.
func TestEveryLibraryAcceptsALateDeliverySignedAnew(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		if c.unsigned {
			return
		}
		r, _, secret := c.genuine(t)
		j := c.judges(t, secret)
		before, err := j.ours.Verify(r, noon)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, theirs := j.ask(r); c.timed != (theirs != nil) {
			t.Errorf("the original an hour later: %v", theirs)
		}
		set, err := compile(t, c.scheme(t), c.secret.signs).Sign(r, "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(r.Header, set)
		j.accept(t, r, "signed anew")
		after, err := j.ours.Verify(r, time.Now())
		if err != nil || after.EventID != before.EventID {
			t.Errorf("event id %q became %q, %v", before.EventID, after.EventID, err)
		}
	})
}
