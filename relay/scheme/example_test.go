// SPDX-License-Identifier: Apache-2.0

package scheme_test

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

func ExampleScheme_Compile() {
	stripe, _ := scheme.Preset("stripe")
	v, err := stripe.Compile([][]byte{[]byte("whsec_new"), []byte("whsec_old")})
	if err != nil {
		panic(err)
	}
	now := time.Unix(1750000000, 0)
	r := &scheme.Request{Method: "POST", URL: "https://example.com/stripe", Header: http.Header{}, Body: []byte(`{"id":"evt_1","type":"invoice.paid"}`)}

	_, err = v.Verify(r, now)
	if f, ok := errors.AsType[*scheme.Failure](err); ok {
		fmt.Println(f.Status(), f.Detail())
	}

	r.Header, _ = v.Sign(r, "", now)
	verdict, err := v.Verify(r, now)
	fmt.Println(verdict.EventID, verdict.Type, verdict.Secret, err)
	// Output:
	// 400 no Stripe-Signature
	// evt_1 invoice.paid 0 <nil>
}

// A scheme of one's own is the same type as a preset.
func ExampleScheme() {
	acme := &scheme.Scheme{
		Name: "acme",
		Proof: scheme.Proof{
			Signature: scheme.Signature{Header: "X-Acme-Signature", Prefix: "sha256="},
			Algorithm: scheme.HMACSHA256,
			Message:   "{http.relay.timestamp}.{http.request.body}",
			Timestamp: &scheme.Timestamp{Value: "{http.request.header.X-Acme-Timestamp}"},
		},
		EventID: []string{"{http.relay.body.id}"},
	}
	fmt.Println(acme.Validate(), acme.Retries(), acme.AcceptedMethods())
	// Output:
	// <nil> true [POST]
}
