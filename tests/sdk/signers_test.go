// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"maps"
	"net/http"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stripe/stripe-go/v85/webhook"
	svix "github.com/svix/svix-webhooks/go"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// signer is a library that signs as the provider does.
type signer struct {
	library string
	presets []string
	sign    func(secret string, now time.Time, body []byte) (http.Header, error)
}

func signers() []signer {
	return []signer{
		{"stripe-go", []string{"stripe"}, signStripe},
		{"standard-webhooks", []string{"standard_webhooks", "svix", "openai", "anthropic"}, signStandard},
		{"svix", []string{"svix", "resend", "clerk"}, signSvix},
	}
}

func signStripe(secret string, now time.Time, body []byte) (http.Header, error) {
	signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: body, Secret: secret, Timestamp: now})
	return http.Header{"Stripe-Signature": {signed.Header}}, nil
}

func signStandard(secret string, now time.Time, body []byte) (http.Header, error) {
	w, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return nil, err
	}
	signature, err := w.Sign("msg_1", now, body)
	return standardHeader("Webhook", signature, now), err
}

func signSvix(secret string, now time.Time, body []byte) (http.Header, error) {
	w, err := svix.NewWebhook(secret)
	if err != nil {
		return nil, err
	}
	signature, err := w.Sign("msg_1", now, body)
	return standardHeader("Svix", signature, now), err
}

func standardHeader(prefix, signature string, now time.Time) http.Header {
	return http.Header{
		prefix + "-Id":        {"msg_1"},
		prefix + "-Timestamp": {strconv.FormatInt(now.Unix(), 10)},
		prefix + "-Signature": {signature},
	}
}

func TestWhatLibrariesSignIsAccepted(t *testing.T) {
	const secret, other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_plJ3nmyCDGBKInavdOK15jsl1PDZ5WYs"
	bodies := []string{
		"{\r\n  \"id\": \"evt_1\",\n\t\"type\": \"a.b\", \"text\": \"5 > 4 & \u2028 \u00fc\"}\r\n",
		`{}`, "", "not JSON", "\x00\xff\xfe", ".", "v1,1.2.3",
	}
	for _, s := range signers() {
		for _, preset := range s.presets {
			t.Run(s.library+"/"+preset, func(t *testing.T) {
				c := &counterpart{preset: preset}
				for _, body := range bodies {
					header, err := s.sign(secret, noon, []byte(body))
					if err != nil {
						t.Fatal(err)
					}
					r := post("https://example.com/hooks", "application/json", body)
					maps.Copy(r.Header, header)
					checkSigned(t, compile(t, c.scheme(t), other, secret), r)
				}
			})
		}
	}
}

// checkSigned expects the request to be accepted with the second secret, in time and as it is.
func checkSigned(t *testing.T, v *scheme.Verifier, r *scheme.Request) {
	t.Helper()
	verdict, err := v.Verify(r, noon)
	if err != nil || verdict.Secret != 1 || !verdict.Timestamp.Equal(noon) {
		t.Errorf("body %q: %+v, %v", r.Body, verdict, err)
	}
	if _, err := v.Verify(r, noon.Add(301*time.Second)); err == nil {
		t.Errorf("body %q: accepted 301 s later", r.Body)
	}
	forged := clone(r)
	forged.Body = append(forged.Body, ' ')
	if _, err := v.Verify(forged, noon); err == nil {
		t.Errorf("body %q: accepted with a space behind it", r.Body)
	}
}
