// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/PaddleHQ/paddle-go-sdk/v4"
	"github.com/razorpay/razorpay-go/utils"
	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

var errRefused = errors.New("refused")

// refusedUnless turns a library's yes or no into an error.
func refusedUnless(ok bool) error {
	if ok {
		return nil
	}
	return errRefused
}

func paymentCounterparts() []*counterpart {
	return []*counterpart{
		{
			library: "stripe-go", preset: "stripe", verify: verifyStripe, vectors: []string{"stripe"},
			secret: shared("whsec_5Q3yT1wKX2m8"), other: shared("whsec_5Q3yT1wKX2m9"), timed: true,
			differences: []difference{equalsInUnknownField},
		},
		{
			library: "paddle-go-sdk", preset: "paddle", verify: verifyPaddle, vectors: []string{"paddle"},
			secret: shared("pdl_ntfset_01_a"), other: shared("pdl_ntfset_01_b"), timed: true,
			differences: []difference{severalPaddleSignatures, upperCaseHex("Paddle-Signature")},
		},
		{
			library: "razorpay-go", preset: "razorpay", verify: verifyRazorpay, vectors: []string{"razorpay"},
			secret: shared("123456"), other: shared("123457"),
			differences: []difference{upperCaseHex("X-Razorpay-Signature")},
		},
	}
}

func verifyStripe(secret string, r *http.Request, body []byte) error {
	return webhook.ValidatePayload(body, r.Header.Get("Stripe-Signature"), secret)
}

func verifyPaddle(secret string, r *http.Request, _ []byte) error {
	v := paddle.NewWebhookVerifier(secret, paddle.VerifierWithTimestampTolerance(5*time.Minute))
	ok, err := v.Verify(r)
	if err != nil {
		return err
	}
	return refusedUnless(ok)
}

func verifyRazorpay(secret string, r *http.Request, body []byte) error {
	return refusedUnless(utils.VerifyWebhookSignature(string(body), r.Header.Get("X-Razorpay-Signature"), secret))
}

// equalsInUnknownField: a field of an unknown name may hold an equals sign, as base64 does. Stripe's libraries for Python and
// Node.js pass over it; the one for Go refuses the whole header.
var equalsInUnknownField = difference{
	name: "an unknown field with = in its value",
	plain: func(r *scheme.Request) []*scheme.Request {
		return []*scheme.Request{withFields(r, "Stripe-Signature", ",", func(name, _ string) bool { return name == "t" || name == "v1" })}
	},
}

// severalPaddleSignatures: while a secret is replaced there may be several h1, and later versions may stand beside them.
// Paddle's libraries for Python and Node.js accept that, the one for Go wants exactly one.
var severalPaddleSignatures = difference{
	name: "several h1, or unknown fields, in Paddle-Signature",
	plain: func(r *scheme.Request) []*scheme.Request {
		return oneByOne(r, "Paddle-Signature", ";", "ts", "h1")
	},
}

// withFields is the request with only some fields of a header.
func withFields(r *scheme.Request, header, separator string, keep func(name, value string) bool) *scheme.Request {
	var kept []string
	for element := range strings.SplitSeq(r.Header.Get(header), separator) {
		if name, value, _ := strings.Cut(element, "="); keep(name, value) {
			kept = append(kept, element)
		}
	}
	c := clone(r)
	c.Header.Set(header, strings.Join(kept, separator))
	return c
}

// upperCaseHex: the libraries disagree whether hexadecimal digits may be upper case. Both mean the same bytes.
func upperCaseHex(header string) difference {
	return difference{
		name: "hexadecimal digits in upper case",
		plain: func(r *scheme.Request) []*scheme.Request {
			c := clone(r)
			c.Header.Set(header, strings.ToLower(c.Header.Get(header)))
			return []*scheme.Request{c}
		},
	}
}
