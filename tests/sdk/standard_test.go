// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"net/http"
	"time"

	openai "github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/webhooks"
	"github.com/resend/resend-go/v3"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	svix "github.com/svix/svix-webhooks/go"
)

// standardCounterparts are the libraries of Standard Webhooks. Anthropic's hands the request to the reference library
// and then parses the event; it is left out for the size of the rest of it.
func standardCounterparts() []*counterpart {
	key, other := shared("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), shared("whsec_plJ3nmyCDGBKInavdOK15jsl1PDZ5WYs")
	return []*counterpart{
		{
			library: "standard-webhooks", preset: "standard_webhooks", verify: verifyStandard,
			vectors: []string{"standardwebhooks"}, secret: key, other: other, timed: true,
		},
		{
			library: "standard-webhooks", preset: "anthropic", verify: verifyStandard,
			vectors: []string{"anthropic"}, secret: key, other: other, timed: true,
		},
		{
			library: "svix", preset: "svix", verify: verifySvix,
			vectors: []string{"svix"}, secret: key, other: other, timed: true,
		},
		{
			library: "openai-go", preset: "openai", verify: verifyOpenAI,
			vectors: []string{"openai"}, secret: key, other: other, timed: true,
		},
		{
			library: "openai-go with a raw secret", preset: "openai", verify: verifyOpenAI,
			secret: shared("a secret without prefix"), other: other, timed: true,
		},
		{
			library: "resend-go", preset: "resend", verify: verifyResend,
			secret: key, other: other, timed: true,
		},
	}
}

func verifyStandard(secret string, r *http.Request, body []byte) error {
	w, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	return w.Verify(body, r.Header)
}

func verifySvix(secret string, r *http.Request, body []byte) error {
	w, err := svix.NewWebhook(secret)
	if err != nil {
		return err
	}
	return w.Verify(body, r.Header)
}

func verifyOpenAI(secret string, r *http.Request, body []byte) error {
	service := webhooks.NewWebhookService(openai.WithWebhookSecret(secret))
	return service.VerifySignatureWithToleranceAndTime(body, r.Header, 5*time.Minute, time.Now())
}

func verifyResend(secret string, r *http.Request, body []byte) error {
	return resend.NewClient("re_test").Webhooks.Verify(&resend.VerifyWebhookOptions{
		Payload: string(body),
		Headers: resend.WebhookHeaders{
			Id: r.Header.Get("svix-id"), Timestamp: r.Header.Get("svix-timestamp"), Signature: r.Header.Get("svix-signature"),
		},
		WebhookSecret: secret,
	})
}
