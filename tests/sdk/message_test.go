// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bwmarrin/discordgo"
	"github.com/line/line-bot-sdk-go/v8/linebot/webhook"
	"github.com/mailgun/mailgun-go/v4"
	"github.com/sendgrid/sendgrid-go/helpers/eventwebhook"
	"github.com/slack-go/slack"
	twilio "github.com/twilio/twilio-go/client"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

func messageCounterparts() []*counterpart {
	return []*counterpart{
		{
			library: "slack-go", preset: "slack", verify: verifySlack, vectors: []string{"slack"},
			secret: shared("8f742231b10e8888abcd99yyyzzz85a5"), other: shared("8f742231b10e8888abcd99yyyzzz85a6"), timed: true,
		},
		{
			library: "twilio-go", preset: "twilio", verify: verifyTwilio, vectors: []string{"twilio"},
			secret: shared("12345"), other: shared("12346"), request: twilioForm,
			differences: []difference{repeatedTwilioParameters},
		},
		{
			library: "twilio-go with JSON", preset: "twilio", verify: verifyTwilio, vectors: []string{"twilio/bodySHA256"},
			secret: shared("12345"), other: shared("12346"), request: twilioJSON,
		},
		{
			library: "sendgrid-go", preset: "sendgrid", verify: verifySendGrid, vectors: []string{"sendgrid"},
			secret: ecdsaSecrets()[0], other: ecdsaSecrets()[1],
		},
		{
			library: "line-bot-sdk-go", preset: "line", verify: verifyLine, vectors: []string{"line"},
			secret: shared("8c570fa6dd201bb328f1c1eac23a96d8"), other: shared("8c570fa6dd201bb328f1c1eac23a96d9"),
		},
		{
			library: "mailgun-go", preset: "mailgun", verify: verifyMailgun, vectors: []string{"mailgun"},
			secret: shared("key-1"), other: shared("key-0"), bodyUnsigned: true, unsigned: true,
			differences: []difference{brokenMailgunEvent},
		},
		{
			library: "discordgo", preset: "discord", verify: verifyDiscord, vectors: []string{"discord"},
			secret: ed25519Secret(1), other: ed25519Secret(2),
		},
	}
}

func verifySlack(secret string, r *http.Request, body []byte) error {
	v, err := slack.NewSecretsVerifier(r.Header, secret)
	if err != nil {
		return err
	}
	if _, err := v.Write(body); err != nil {
		return err
	}
	return v.Ensure()
}

func verifyTwilio(secret string, r *http.Request, body []byte) error {
	v := twilio.NewRequestValidator(secret)
	return refusedUnless(v.ValidateBody(r.RequestURI, body, r.Header.Get("X-Twilio-Signature")))
}

func verifySendGrid(secret string, r *http.Request, body []byte) error {
	key, err := eventwebhook.ConvertPublicKeyBase64ToECDSA(secret)
	if err != nil {
		return err
	}
	ok, err := eventwebhook.VerifySignature(key, body,
		r.Header.Get(eventwebhook.VerificationHTTPHeader), r.Header.Get(eventwebhook.TimestampHTTPHeader))
	if err != nil {
		return err
	}
	return refusedUnless(ok)
}

func verifyLine(secret string, r *http.Request, body []byte) error {
	return refusedUnless(webhook.ValidateSignature(secret, r.Header.Get("X-Line-Signature"), body))
}

func verifyMailgun(secret string, _ *http.Request, body []byte) error {
	var payload mailgun.WebhookPayload
	if err := json.Unmarshal(body, &payload); err != nil {
		return err
	}
	client := mailgun.NewMailgun("example.com", "")
	client.SetWebhookSigningKey(secret)
	ok, err := client.VerifyWebhookSignature(payload.Signature)
	if err != nil {
		return err
	}
	return refusedUnless(ok)
}

func verifyDiscord(secret string, r *http.Request, _ []byte) error {
	key, err := hex.DecodeString(secret)
	if err != nil {
		return err
	}
	return refusedUnless(discordgo.VerifyInteraction(r, key))
}

func twilioForm() *scheme.Request {
	return post("https://example.com/twilio?tenant=7", "application/x-www-form-urlencoded; charset=UTF-8",
		"MessageSid=SM1&From=15551230000&Body=Hello+world%21&Empty=")
}

// twilioJSON has the hash of its body in the query, as only the URL is signed.
func twilioJSON() *scheme.Request {
	body := `{"MessageSid":"SM1","Body":"Hello"}`
	return post(fmt.Sprintf("https://example.com/twilio?bodySHA256=%x", sha256.Sum256([]byte(body))), "application/json", body)
}

// repeatedTwilioParameters: Twilio signs each value of a repeated parameter once, in order. Its libraries for Python and
// Node.js do so too, the one for Go takes the first value alone.
var repeatedTwilioParameters = difference{
	name: "a parameter with several values",
	plain: func(r *scheme.Request) []*scheme.Request {
		form, err := url.ParseQuery(string(r.Body))
		if err != nil {
			return nil
		}
		for name, values := range form {
			values = slices.Compact(slices.Sorted(slices.Values(values)))
			// For the text that is signed this is the same: name and value are not divided.
			form[name] = []string{values[0]}
			if len(values) > 1 {
				form[name] = []string{values[0] + name + strings.Join(values[1:], name)}
			}
		}
		c := clone(r)
		c.Body = []byte(form.Encode())
		return []*scheme.Request{c}
	},
}

// brokenMailgunEvent: only the time and the token are signed, and relay/scheme reads no more than these and the signature.
var brokenMailgunEvent = difference{
	name: "a body that is not valid JSON beyond the signature",
	plain: func(r *scheme.Request) []*scheme.Request {
		var payload mailgun.WebhookPayload
		payload.Signature.TimeStamp, _ = scheme.BodyPath(r.Body, "signature.timestamp")
		payload.Signature.Token, _ = scheme.BodyPath(r.Body, "signature.token")
		payload.Signature.Signature, _ = scheme.BodyPath(r.Body, "signature.signature")
		c := clone(r)
		c.Body, _ = json.Marshal(map[string]any{"signature": payload.Signature})
		return []*scheme.Request{c}
	},
}

// Twilio signs the URL alone where it holds the hash of the body, and never the content type: a body without parameters must
// not pass for the form of such a request.
func TestJSONOfTwilioDoesNotPassAsAForm(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		if c.library != "twilio-go with JSON" {
			return
		}
		r, _, secret := c.genuine(t)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		j := c.judges(t, secret)
		for _, body := range []string{"", "&", "=", "&=&"} {
			r.Body = []byte(body)
			j.refuse(t, r, "with the body "+body)
		}
	})
}

// ed25519Secret is a key pair as Discord writes its own.
func ed25519Secret(seed byte) secret {
	private := ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed}, ed25519.SeedSize))
	public := private[ed25519.SeedSize:] // which is the second half
	return secret{hex.EncodeToString(private), hex.EncodeToString(public)}
}

// ecdsaSecrets are key pairs as SendGrid writes its own.
var ecdsaSecrets = sync.OnceValue(func() [2]secret {
	var pairs [2]secret
	for i := range pairs {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			panic(err)
		}
		public, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			panic(err)
		}
		pairs[i] = secret{base64.StdEncoding.EncodeToString(private), base64.StdEncoding.EncodeToString(public)}
	}
	return pairs
})
