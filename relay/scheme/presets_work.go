// SPDX-License-Identifier: Apache-2.0

package scheme

// workPresets are documents, forms, planning, people and content.
var workPresets = []Scheme{
	{
		Name: "notion", Proof: mac("X-Notion-Signature", HMACSHA256, Hex, "sha256="),
		EventID: path("id"), Type: path("type"), Handshakes: notionHandshakes,
	},
	{
		Name: "asana", Proof: hexMAC("X-Hook-Signature"),
		Type: []string{in("events.0.resource.resource_type") + "." + in("events.0.action")}, IdentityBody: true,
		Handshakes: asanaHandshakes,
	},
	{
		Name: "trello", Proof: keyedMessage(mac("X-Trello-Webhook", HMACSHA1, Base64, ""), body+"{http.relay.url}"),
		EventID: path("action.id"), Type: path("action.type"), Handshakes: probeHandshakes,
	},
	{
		Name: "monday",
		// The body is not signed.
		Proof:   Proof{Signature: Signature{Header: "Authorization", Encoding: Text}, JWT: &JWT{Algorithms: []string{"HS256"}}},
		EventID: path("event.triggerUuid"), Type: path("event.type"), Handshakes: mondayHandshakes,
	},
	{
		Name: "clickup", Proof: hexMAC("X-Signature"), EventID: path("history_items.0.id"), Type: path("event"),
		Identity: []string{in("webhook_id"), in("event"), in("history_items.*.id")},
	},
	{Name: "airtable", Proof: keyed(mac("X-Airtable-Content-MAC", HMACSHA256, Hex, "hmac-sha256="), Base64Key), IdentityBody: true},
	{
		Name: "figma", Proof: Proof{Signature: Signature{Body: "passcode", Encoding: Text}, Algorithm: Token},
		Type: path("event_type"), Identity: []string{in("webhook_id"), in("event_type"), in("timestamp")},
	},
	{
		Name: "dropbox", Proof: hexMAC("X-Dropbox-Signature"),
		Unidentified: "the same bytes announce different changes", Handshakes: challengeHandshakes,
	},
	{
		Name: "box",
		Proof: Proof{
			Signature: Signature{Header: "Box-Signature-Primary", More: []string{"Box-Signature-Secondary"}, Encoding: Base64},
			Algorithm: HMACSHA256, Canonical: "box",
			Timestamp: &Timestamp{Value: header("Box-Delivery-Timestamp"), Unit: RFC3339, Tolerance: 10 * minute, NoFuture: true},
			Require:   map[string]string{header("Box-Signature-Version"): "1", header("Box-Signature-Algorithm"): "HmacSHA256"},
		},
		EventID: named("Box-Delivery-Id"), Type: path("trigger"),
	},
	{
		Name: "docusign", Proof: Proof{Signature: Signature{Header: "X-DocuSign-Signature-", Numbered: true, Encoding: Base64}, Algorithm: HMACSHA256},
		Type: path("event"), IdentityBody: true,
	},
	{
		Name: "typeform", Proof: mac("Typeform-Signature", HMACSHA256, Base64, "sha256="),
		EventID: path("event_id"), Type: path("event_type"),
	},
	{Name: "tally", Proof: base64MAC("Tally-Signature"), EventID: path("eventId"), Type: path("eventType")},
	{
		Name: "framer", Proof: keyedMessage(mac("Framer-Signature", HMACSHA256, Hex, "sha256="), body+header("Framer-Webhook-Submission-Id")),
		EventID: named("Framer-Webhook-Submission-Id"),
	},
	{Name: "calcom", Aliases: []string{"cal", "cal_com"}, Proof: hexMAC("X-Cal-Signature-256"), Type: path("triggerEvent"), IdentityBody: true},
	{
		Name: "calendly", Proof: fields("Calendly-Webhook-Signature", "t", "v1", Seconds, 3*minute),
		Type: path("event"), IdentityBody: true,
	},
	{
		Name: "cronofy", Proof: Proof{Signature: Signature{Header: "Cronofy-HMAC-SHA256", Format: List, Encoding: Base64}, Algorithm: HMACSHA256},
		Type: path("notification.type"), Unidentified: "the same bytes may announce different changes",
	},
	{
		Name: "zendesk",
		Proof: stamped(base64MAC("X-Zendesk-Webhook-Signature"), ts+body,
			Timestamp{Value: header("X-Zendesk-Webhook-Signature-Timestamp"), Unit: RFC3339, Tolerance: 5 * minute}),
		EventID: named("X-Zendesk-Webhook-Invocation-Id"), Type: path("type"),
	},
	{
		Name: "intercom", Proof: mac("X-Hub-Signature", HMACSHA1, Hex, "sha1="),
		EventID: path("id"), Type: path("topic"), Handshakes: probeHandshakes,
	},
	{
		Name: "hubspot", Aliases: []string{"hubspot_v3"},
		Proof: Proof{
			Signature: Signature{Header: "X-HubSpot-Signature-v3", Encoding: Base64}, Algorithm: HMACSHA256, Canonical: "hubspot-v3",
			Timestamp: &Timestamp{Value: header("X-HubSpot-Request-Timestamp"), Unit: Milliseconds, Tolerance: 5 * minute},
		},
		EventID: path("0.eventId"), Type: path("0.subscriptionType"), Methods: []string{"GET"}, Identity: hubspotIdentity,
	},
	{
		Name: "hubspot_v2", Proof: hubspotProof("v2", "{http.relay.secret}{http.request.method}{http.relay.url}"+body),
		Methods: []string{"GET"}, Unidentified: "workflow actions and cards, which repeat on purpose",
	},
	{
		Name: "hubspot_v1", Proof: hubspotProof("v1", "{http.relay.secret}"+body),
		EventID: path("0.eventId"), Type: path("0.subscriptionType"), Identity: hubspotIdentity,
	},
	{Name: "segment", Proof: mac("X-Signature", HMACSHA1, Hex, ""), EventID: path("messageId"), Type: path("type")},
	{Name: "castle", Proof: base64MAC("X-Castle-Signature"), Type: path("type"), IdentityBody: true},
	{Name: "workos", Proof: workosProof(), EventID: path("id"), Type: path("event")},
	{
		Name: "persona", Proof: groupedFields("Persona-Signature"), EventID: path("data.id"), Type: path("data.attributes.name"),
	},
	{Name: "mux", Proof: fields("Mux-Signature", "t", "v1", Seconds, 5*minute), EventID: path("id"), Type: path("type")},
	{Name: "go1", Proof: fields("Go1-Signature", "t", "v1", Seconds, 5*minute), Type: path("type"), IdentityBody: true},
	{Name: "tiktok", Proof: fields("TikTok-Signature", "t", "s", Seconds, 5*minute), Type: path("event"), IdentityBody: true},
	{
		Name: "linkedin", Proof: keyedMessage(hexMAC("X-LI-Signature"), "hmacsha256="+body),
		EventID: path("notifications.0.notificationId"), Type: path("type"),
	},
	{Name: "clearbit", Proof: mac("X-Request-Signature", HMACSHA1, Hex, "sha1="), EventID: path("id"), Type: path("type")},
	{Name: "frameio", Aliases: []string{"frame_io"}, Proof: versioned("X-Frameio-Signature", "v0", "X-Frameio-Request-Timestamp"), Type: path("type"), IdentityBody: true},
	{
		Name: "webflow", Proof: stamped(hexMAC("X-Webflow-Signature"), ts+":"+body, Timestamp{Value: header("X-Webflow-Timestamp"), Tolerance: unchecked}),
		Type: path("triggerType"), IdentityBody: true,
	},
	{
		Name: "constantcontact", Aliases: []string{"constant_contact"},
		Proof: Proof{
			Signature: Signature{Header: "X-CTCT-WEBHOOK-SIG", Format: Detached, Field: "header", Encoding: Base64URL},
			Algorithm: RSASHA256, Key: PEMKey, Message: element("header") + "." + body,
			KeyService: &KeyService{URL: "https://developer.constantcontact.com/.well-known/jwks.json"},
		},
		Unidentified: "events whose ids are not known here",
	},
	{Name: "sanity", Proof: sanityProof(), EventID: named("idempotency-key"), Type: path("_type")},
	{
		Name: "contentful",
		Proof: Proof{
			Signature: Signature{Header: "X-Contentful-Signature", Encoding: Hex}, Algorithm: HMACSHA256, Canonical: "contentful",
			Timestamp: &Timestamp{Value: header("X-Contentful-Timestamp"), Unit: Milliseconds, Tolerance: minute / 2},
		},
		EventID: named("X-Contentful-Idempotency-Key"), Type: named("X-Contentful-Topic"), IdentityBody: true,
	},
	{Name: "hygraph", Aliases: []string{"graphcms"}, Proof: hygraphProof(), Type: path("operation"), IdentityBody: true},
	{Name: "lob", Proof: stamped(hexMAC("Lob-Signature"), ts+"."+body, Timestamp{Value: header("Lob-Signature-Timestamp"), Tolerance: unchecked}), EventID: path("id"), Type: path("event_type.id")},
	{Name: "onfleet", Proof: keyed(mac("X-Onfleet-Signature", HMACSHA512, Hex, ""), HexKey), Type: path("triggerName"), IdentityBody: true},
	{Name: "nylas", Proof: hexMAC("X-Nylas-Signature"), EventID: path("id"), Type: path("type"), Handshakes: challengeHandshakes},
	{Name: "dub", Proof: hexMAC("Dub-Signature"), EventID: path("id"), Type: path("event")},
	{Name: "checkr", Proof: hexMAC("X-Checkr-Signature"), EventID: path("id"), Type: path("type")},
	{Name: "ashby", Proof: mac("Ashby-Signature", HMACSHA256, Hex, "sha256="), Type: path("action"), IdentityBody: true},
	{Name: "deel", Proof: keyedMessage(hexMAC("x-deel-signature"), "POST"+body), Type: path("data.meta.event_type"), IdentityBody: true},
	{
		Name: "mergedev", Aliases: []string{"merge", "merge_dev"}, Proof: mac("X-Merge-Webhook-Signature", HMACSHA256, Base64URL, ""),
		Type: path("hook.event"), IdentityBody: true,
	},
	{Name: "zapier", Proof: token("Authorization"), Unidentified: "a sender whose bodies the user makes"},
	{
		Name:    "cloudevents",
		Proof:   Proof{Signature: Signature{Header: "Authorization", Prefix: "Bearer ", Encoding: Text}, Algorithm: Token},
		EventID: []string{header("Ce-Id"), in("id")}, Type: []string{header("Ce-Type"), in("type")},
		Identity: []string{header("Ce-Source"), "{http.relay.event_id}"}, Handshakes: cloudeventsHandshakes,
	},
	{
		Name: "websub", Aliases: []string{"pubsubhubbub"}, Proof: mac("X-Hub-Signature", HMACSHA256, Hex, "sha256="),
		// The hub chooses; most hubs still know nothing but the last.
		Also: []Proof{
			mac("X-Hub-Signature", HMACSHA512, Hex, "sha512="), mac("X-Hub-Signature", HMACSHA384, Hex, "sha384="),
			mac("X-Hub-Signature", HMACSHA1, Hex, "sha1="),
		},
		IdentityBody: true, Handshakes: websubHandshakes,
	},
}

// hubspotIdentity is that of a batch, whose body counts the attempts.
var hubspotIdentity = []string{in("*.eventId"), in("*.subscriptionType"), in("*.occurredAt")}

// hubspotProof is one of the two older ones, which hash the secret into the text.
func hubspotProof(version, message string) Proof {
	return Proof{
		Signature: Signature{Header: "X-HubSpot-Signature"}, Algorithm: DigestSHA256, Message: message,
		Require: map[string]string{header("X-HubSpot-Signature-Version"): version},
	}
}

func workosProof() Proof {
	p := fields("WorkOS-Signature", "t", "v1", Milliseconds, 3*minute)
	p.Signature.Spaces = true
	return p
}

// groupedFields sends a group of fields for each secret.
func groupedFields(name string) Proof {
	p := fields(name, "t", "v1", Seconds, 5*minute)
	p.Signature.Groups = true
	return p
}

func sanityProof() Proof {
	p := fields("sanity-webhook-signature", "t", "v1", Milliseconds, unchecked)
	p.Signature.Encoding, p.Signature.Spaces = Base64URL, true
	return p
}

func hygraphProof() Proof {
	p := fields("gcms-signature", "t", "sign", Milliseconds, unchecked)
	p.Signature.Encoding, p.Signature.Spaces = Base64, true
	p.Message, p.Canonical = "", "hygraph"
	return p
}
