// SPDX-License-Identifier: Apache-2.0

package scheme

// corePresets are the schemes that others are compared with.
var corePresets = []Scheme{
	{
		Name:    "github",
		Proof:   mac("X-Hub-Signature-256", HMACSHA256, Hex, "sha256="),
		EventID: named("X-GitHub-Delivery"), Type: named("X-GitHub-Event"),
		// One GUID serves all hooks and apps that an event reaches.
		Identity: []string{header("X-GitHub-Hook-ID"), "{http.relay.event_id}"},
		MaxBody:  25 << 20, NoRetries: true,
	},
	{
		Name:    "github_sha1",
		Proof:   mac("X-Hub-Signature", HMACSHA1, Hex, "sha1="),
		EventID: named("X-GitHub-Delivery"), Type: named("X-GitHub-Event"),
		Identity: []string{header("X-GitHub-Hook-ID"), "{http.relay.event_id}"},
		MaxBody:  25 << 20, NoRetries: true,
	},
	{
		Name:    "stripe",
		Proof:   fields("Stripe-Signature", "t", "v1", Seconds, 5*minute),
		EventID: path("id"), Type: path("type"),
	},
	{
		Name:    "slack",
		Proof:   versioned("X-Slack-Signature", "v0", "X-Slack-Request-Timestamp"),
		EventID: path("event_id"), Type: []string{in("event.type"), in("type")},
		Handshakes: slackHandshakes,
	},
	{
		Name:    "shopify",
		Proof:   base64MAC("X-Shopify-Hmac-Sha256"),
		EventID: []string{header("X-Shopify-Event-Id"), header("X-Shopify-Webhook-Id")}, Type: named("X-Shopify-Topic"),
		// One event id serves all topics of one action.
		Identity: []string{header("X-Shopify-Shop-Domain"), header("X-Shopify-Topic"), "{http.relay.event_id}"},
	},
	{
		Name:    "twilio",
		Proof:   canonical(mac("X-Twilio-Signature", HMACSHA1, Base64, ""), "twilio"),
		EventID: []string{"{http.relay.form.MessageSid}", "{http.relay.form.CallSid}"},
		// One message or call is reported in several states.
		IdentityBody: true,
		Methods:      []string{"GET"}, NoRetries: true,
	},
	{
		Name:    "discord",
		Proof:   ed25519Proof("X-Signature-Ed25519", Hex, HexKey, ts+body, "X-Signature-Timestamp", unchecked),
		EventID: path("id"), Type: []string{in("event.type"), in("type")},
		Handshakes: discordHandshakes,
	},
	{
		Name: "sns", Aliases: []string{"aws_sns", "amazon_sns"},
		Proof:   snsProof("2", RSASHA256),
		Also:    []Proof{snsProof("1", RSASHA1)},
		EventID: path("MessageId"), Type: []string{header("X-Amz-Sns-Message-Type"), in("Type")},
		Handshakes: snsHandshakes,
	},
}

// snsProof is that of one version of the signatures of Amazon SNS. Its secrets
// are the ARNs of the topics that are taken.
func snsProof(version string, alg Algorithm) Proof {
	return Proof{
		Signature: Signature{Body: "Signature", Encoding: Base64},
		Algorithm: alg,
		Canonical: "sns",
		KeyURL: &KeyURL{
			Value:   in("SigningCertURL"),
			Pattern: `https://sns\.[a-zA-Z0-9-]{3,}\.amazonaws\.com(\.cn)?/[A-Za-z0-9._-]+\.pem`,
		},
		Require: map[string]string{in("SignatureVersion"): version},
	}
}

// versioned is an HMAC-SHA256 in hex over `version:time:body`.
func versioned(name, version, at string) Proof {
	return stamped(mac(name, HMACSHA256, Hex, version+"="), version+":"+ts+":"+body,
		Timestamp{Value: header(at), Unit: Seconds, Tolerance: 5 * minute})
}

// canonical is a proof over a form of its own.
func canonical(p Proof, form string) Proof {
	p.Canonical = form
	return p
}

// ed25519Proof is one over a message with a time in a header.
func ed25519Proof(name string, e Encoding, form KeyForm, message, at string, tolerance Duration) Proof {
	p := Proof{Signature: Signature{Header: name, Encoding: e}, Algorithm: Ed25519, Key: form}
	return stamped(p, message, Timestamp{Value: header(at), Unit: Seconds, Tolerance: tolerance})
}
