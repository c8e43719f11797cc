// SPDX-License-Identifier: Apache-2.0

package scheme

// messagePresets are messages, calls, mail and meetings.
var messagePresets = []Scheme{
	{
		Name:    "zoom",
		Proof:   versioned("x-zm-signature", "v0", "x-zm-request-timestamp"),
		EventID: named("x-zm-trackingid"), Type: path("event"), Handshakes: zoomHandshakes,
	},
	{
		Name: "meta", Aliases: []string{"facebook", "facebook_graph_api", "facebook_messenger", "messenger", "instagram", "whatsapp"},
		Proof: mac("X-Hub-Signature-256", HMACSHA256, Hex, "sha256="),
		Type:  []string{in("object") + "." + in("entry.0.changes.0.field"), in("object")}, IdentityBody: true,
		Handshakes: metaHandshakes,
	},
	{
		Name: "x", Aliases: []string{"twitter"}, Proof: mac("X-Twitter-Webhooks-Signature", HMACSHA256, Base64, "sha256="),
		IdentityBody: true, Handshakes: xHandshakes,
	},
	{
		Name: "line", Proof: base64MAC("X-Line-Signature"),
		EventID: path("events.0.webhookEventId"), Type: path("events.0.type"),
		// A redelivery says so in the body.
		Identity: path("events.*.webhookEventId"),
	},
	{
		Name: "telegram", Proof: token("X-Telegram-Bot-Api-Secret-Token"),
		EventID: path("update_id"),
	},
	{
		Name: "teams", Aliases: []string{"microsoft_teams", "ms_teams"}, Proof: keyed(mac("Authorization", HMACSHA256, Base64, "HMAC "), Base64Key),
		EventID: path("id"), Type: path("type"),
	},
	{
		Name: "msgraph", Aliases: []string{"microsoft_graph"},
		Proof: Proof{Signature: Signature{Body: "value", Encoding: Text}, Algorithm: Token, Canonical: "msgraph"},
		Type:  path("value.0.changeType"), IdentityBody: true, Handshakes: graphHandshakes,
	},
	{
		Name:    "webex",
		Aliases: []string{"spark"}, Proof: mac("X-Spark-Signature", HMACSHA1, Hex, ""),
		Type: []string{in("resource") + "." + in("event")}, IdentityBody: true,
	},
	{
		Name: "lark", Aliases: []string{"feishu"},
		Proof: Proof{
			Signature: Signature{Header: "X-Lark-Signature"}, Algorithm: DigestSHA256,
			Message:   ts + header("X-Lark-Request-Nonce") + "{http.relay.secret}" + body,
			Timestamp: &Timestamp{Value: header("X-Lark-Request-Timestamp"), Unit: Seconds, Tolerance: unchecked},
		},
		Sealed:  in("encrypt"),
		EventID: []string{in("header.event_id"), in("uuid")}, Type: []string{in("header.event_type"), in("event.type")},
		Handshakes: larkHandshakes,
	},
	{
		Name: "mandrill", Aliases: []string{"mailchimp_transactional"},
		Proof:        canonical(mac("X-Mandrill-Signature", HMACSHA1, Base64, ""), "mandrill"),
		IdentityBody: true, Handshakes: probeHandshakes,
	},
	{
		Name: "plivo", Aliases: []string{"plivo_v3"}, Proof: canonical(plivoProof("X-Plivo-Signature-V3"), "plivo-v3"),
		EventID:      []string{"{http.relay.form.CallUUID}", "{http.relay.form.MessageUUID}"},
		IdentityBody: true, Methods: []string{"GET"},
	},
	{
		// The body is not signed.
		Name: "plivo_v2",
		Proof: keyedMessage(plivoProof("X-Plivo-Signature-V2"),
			"{http.relay.url.base}"+header("X-Plivo-Signature-V2-Nonce")),
		EventID:      []string{"{http.relay.form.CallUUID}", "{http.relay.form.MessageUUID}"},
		IdentityBody: true, Methods: []string{"GET"},
	},
	{
		// The body is not signed; the id, which retries keep, is the identity.
		Name: "mailgun",
		Proof: Proof{
			Signature: Signature{Body: "signature.signature", Encoding: Hex}, Algorithm: HMACSHA256,
			Message:   ts + in("signature.token"),
			Timestamp: &Timestamp{Value: in("signature.timestamp"), Unit: Seconds, Tolerance: unchecked},
		},
		EventID: path("event-data.id"), Type: path("event-data.event"), IdentityAlone: true,
	},
	{
		Name: "sendgrid", Aliases: []string{"twilio_sendgrid"},
		Proof: stamped(Proof{
			Signature: Signature{Header: "X-Twilio-Email-Event-Webhook-Signature", Encoding: Base64},
			Algorithm: ECDSASHA256, Key: SPKIKey,
		}, ts+body, Timestamp{Value: header("X-Twilio-Email-Event-Webhook-Timestamp"), Unit: Seconds, Tolerance: unchecked}),
		EventID: path("0.sg_event_id"), Type: path("0.event"), Identity: path("*.sg_event_id"),
	},
	{Name: "postmark", Proof: basic(), EventID: path("ID"), Type: path("RecordType"), IdentityBody: true},
	{Name: "sparkpost", Proof: basic(), Type: []string{"{http.relay.body.0.msys}"}, IdentityBody: true},
	{Name: "brevo", Proof: token("Authorization"), Type: path("event"), IdentityBody: true},
	{
		Name:    "telnyx",
		Proof:   ed25519Proof("telnyx-signature-ed25519", Base64, Base64Key, ts+"|"+body, "telnyx-timestamp", 5*minute),
		EventID: path("data.id"), Type: path("data.event_type"),
	},
	{
		Name: "vonage", Aliases: []string{"nexmo"},
		Proof: Proof{
			Signature: Signature{Header: "Authorization", Prefix: "Bearer ", Encoding: Text},
			JWT:       &JWT{Algorithms: []string{"HS256"}, BodyHash: "payload_hash"},
		},
		IdentityBody: true, Methods: []string{"GET"},
	},
	{
		Name: "messagebird", Aliases: []string{"bird"},
		Proof: Proof{
			Signature: Signature{Header: "MessageBird-Signature-JWT", Encoding: Text},
			JWT: &JWT{
				Algorithms: []string{"HS256", "HS384", "HS512"}, Issuer: "MessageBird",
				BodyHash: "payload_hash", URLHash: "url_hash",
			},
		},
		Methods: []string{"GET"}, Unidentified: "reports of states without an id, partly without a body",
	},
	{
		Name: "messagebird_legacy",
		Proof: Proof{
			Signature: Signature{Header: "MessageBird-Signature", Encoding: Base64}, Algorithm: HMACSHA256, Canonical: "messagebird-legacy",
			Timestamp: &Timestamp{Value: header("MessageBird-Request-Timestamp"), Unit: Seconds, Tolerance: unchecked},
		},
		Methods: []string{"GET"}, Unidentified: "reports of states without an id, partly without a body",
	},
	{
		Name: "sinch",
		Proof: stamped(base64MAC("x-sinch-webhook-signature"), body+"."+header("x-sinch-webhook-signature-nonce")+"."+ts,
			Timestamp{Value: header("x-sinch-webhook-signature-timestamp"), Unit: Seconds, Tolerance: 5 * minute}),
		IdentityBody: true,
	},
	{
		Name: "twitch",
		Proof: stamped(mac("Twitch-Eventsub-Message-Signature", HMACSHA256, Hex, "sha256="),
			header("Twitch-Eventsub-Message-Id")+ts+body,
			Timestamp{Value: header("Twitch-Eventsub-Message-Timestamp"), Unit: RFC3339, Tolerance: 10 * minute}),
		EventID: named("Twitch-Eventsub-Message-Id"), Type: named("Twitch-Eventsub-Subscription-Type"),
		Handshakes: twitchHandshakes,
	},
	{Name: "pusher", Proof: pusherProof(), Type: path("events.0.name"), IdentityBody: true},
	{Name: "ably", Proof: base64MAC("X-Ably-Signature"), Type: path("items.0.name"), IdentityBody: true},
	{Name: "sendbird", Proof: hexMAC("x-sendbird-signature"), Type: path("category"), Unidentified: "events without an id or a time"},
	{
		Name: "customerio", Aliases: []string{"customer_io"}, Proof: versioned("X-CIO-Signature", "v0", "X-CIO-Timestamp"),
		EventID: path("event_id"), Type: path("metric"),
	},
	{
		Name: "klaviyo", Proof: stamped(hexMAC("Klaviyo-Signature"), body+ts, Timestamp{Value: header("Klaviyo-Timestamp"), Tolerance: unchecked}),
		Type: path("data.0.type"), IdentityBody: true,
	},
	{
		Name: "airship", Aliases: []string{"urban_airship"},
		Proof: stamped(hexMAC("X-UA-Signature"), ts+":"+body, Timestamp{Value: header("X-UA-Timestamp"), Unit: Seconds, Tolerance: 5 * minute}),
		Type:  path("events.0.type"), IdentityBody: true,
	},
	{
		Name: "knock", Proof: knockProof(),
		EventID: path("id"), Type: path("type"),
	},
	{
		Name: "front",
		Proof: stamped(base64MAC("X-Front-Signature"), ts+":"+body,
			Timestamp{Value: header("X-Front-Request-Timestamp"), Unit: Milliseconds, Tolerance: 5 * minute}),
		EventID: path("id"), Type: path("type"),
	},
	{
		Name: "elevenlabs", Proof: elevenlabsProof(), Type: path("type"), IdentityBody: true,
	},
}

// plivoProof lists several signatures while a token is being changed.
func plivoProof(name string) Proof {
	return Proof{Signature: Signature{Header: name, Format: List, Encoding: Base64}, Algorithm: HMACSHA256}
}

// pusherProof names the app's key; secrets are written `<app key>:<secret>`.
func pusherProof() Proof {
	p := hexMAC("X-Pusher-Signature")
	p.KeyID = header("X-Pusher-Key")
	return p
}

func knockProof() Proof {
	p := fields("X-Knock-Signature", "t", "s", Milliseconds, 5*minute)
	p.Signature.Encoding = Base64
	return p
}

func elevenlabsProof() Proof {
	p := fields("ElevenLabs-Signature", "t", "v0", Seconds, 30*minute)
	return p
}
