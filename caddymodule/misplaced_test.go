// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

func TestSecretInTheWrongPlaceIsNotShown(t *testing.T) {
	for _, secret := range []string{
		"whsec_5f0c2a9b7d3e41aa55", "sk_live_51H8abcdefghijk", "whsec_onlyletters", "5f0c2a9b7d3e41aa555f0c2a9b7d3e41aa55",
		"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw/ab+1=", "eyJhbGciOiJIUzI1NiJ9.e30.x", "0e984725-c51c-4bf4-9960-e1c80e27aba0", "hook/9f8e7d6c5b4a39281706f5e4",
	} {
		if !looksSecret(secret) {
			t.Errorf("%s does not look like a secret", secret)
			continue
		}
		for _, line := range []string{
			"@", "verify @", "verify stripe {\n@\n}", "verify stripe {env.PATH} {\ntolerance @\n}", "resign @", "dedupe @", "timeout @", "retry @",
			"retry fixed @", "max_size @", "max_in_flight @", "rate_limit @ 1s", "order_by @", "respond @", "events *@", "methods @ /",
			"destination a {\n@\n}", "verify hmac {\n@\n}", "forward {\n@\n}", "verify hmac {\nheader X\nencoding @\n}",
		} {
			text := ":0 {\nrelay /x localhost:1 {\n" + strings.ReplaceAll(line, "@", secret) + "\n}\n}\n"
			_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
			if err == nil {
				t.Errorf("%q is accepted", text)
			} else if strings.Contains(err.Error(), secret) {
				t.Errorf("%s", err)
			}
		}
	}
}

func TestWordsOfConfigurationsDoNotLookSecret(t *testing.T) {
	words := append(scheme.Names(), "localhost:9000", "http://app-1:3000/webhooks/stripe", "webhooks/stripe",
		"{env.STRIPE_WEBHOOK_SECRET_2024A}", "{file./run/secrets/a0b1c2d3e4f5a6}", "X-Hub-Signature-256", "ecdsa-p256-sha256",
		"{http.request.header.X-Acme-Timestamp}.{http.request.body}", "checkout.session.completed", "pod-7d4b9c6f5d8xyz:9000", "exponential")
	for _, word := range words {
		if looksSecret(word) {
			t.Errorf("%s looks like a secret", word)
		}
	}
}

func TestNameThatLooksLikeATokenIsWarnedAbout(t *testing.T) {
	const token = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
	for lines, warned := range map[string]bool{"": true, "name app": false} {
		r, err := provision(t, ":0 {\nrelay /hook/"+token+" localhost:1 {\nmax_in_flight 2\n"+lines+"\n}\nrespond 404\n}\n")
		if err != nil {
			t.Fatal(err)
		}
		if got := logged("give it another with name"); got != warned {
			t.Errorf("%q: warned is %t", lines, got)
		}
		r.stop()
	}
}

func TestSitesAreWarnedAboutWithoutBeingStarted(t *testing.T) {
	r, err := provision(t, ":0 {\nrelay /x localhost:1\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	if !logged("no catch-all") {
		t.Error("a configuration that is only checked is not warned about")
	}
}
