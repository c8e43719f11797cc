// SPDX-License-Identifier: Apache-2.0

package scheme

// codePresets are forges, builds, hosting and observation.
var codePresets = []Scheme{
	forge("gitea", "Gitea"),
	forge("forgejo", "Forgejo"),
	forge("gogs", "Gogs"),
	{
		Name: "bitbucket", Aliases: []string{"bitbucketserver"},
		Proof:   mac("X-Hub-Signature", HMACSHA256, Hex, "sha256="),
		EventID: []string{header("X-Request-UUID"), header("X-Request-Id")}, Type: named("X-Event-Key"),
	},
	{
		Name:    "gitlab",
		Proof:   token("X-Gitlab-Token"),
		EventID: []string{header("Idempotency-Key"), header("X-Gitlab-Webhook-UUID") + "." + header("X-Gitlab-Event-UUID")},
		Type:    named("X-Gitlab-Event"),
	},
	{
		Name: "jira", Aliases: []string{"atlassian_jira"},
		Proof:   mac("X-Hub-Signature", HMACSHA256, Hex, "sha256="),
		EventID: named("X-Atlassian-Webhook-Identifier"), Type: path("webhookEvent"),
	},
	{
		// The body is not signed.
		Name: "jiraconnect", Aliases: []string{"jira_connect", "atlassian_connect"},
		Proof: Proof{
			Signature: Signature{Header: "Authorization", Prefix: "JWT ", Encoding: Text},
			JWT:       &JWT{Algorithms: []string{"HS256"}, QueryHash: "qsh"},
		},
		Type: path("webhookEvent"), IdentityBody: true,
	},
	{
		Name: "keygen",
		Proof: Proof{
			Signature: Signature{Header: "Keygen-Signature", Format: KeyValue, Tag: "signature", Quoted: true, Spaces: true, Encoding: Base64},
			Algorithm: Ed25519, Key: HexKey, Canonical: "keygen",
		},
		EventID: path("data.id"), Type: path("data.attributes.event"),
	},
	{
		Name: "kinde",
		Proof: Proof{
			Signature: Signature{Whole: true, Encoding: Text},
			// The same keys sign the access tokens of its customers' users.
			JWT:        &JWT{Algorithms: []string{"RS256"}, KeyIDs: true, Claims: []string{"event_id", "type"}},
			KeyService: &KeyService{},
		},
		IdentityBody: true,
	},
	{
		Name:    "linear",
		Proof:   stamped(hexMAC("Linear-Signature"), body, Timestamp{Value: in("webhookTimestamp"), Unit: Milliseconds, Tolerance: minute}),
		EventID: named("Linear-Delivery"), Type: []string{header("Linear-Event"), in("type")},
	},
	{
		// Only the version that this preset knows counts, whatever else is listed.
		Name:    "circleci",
		Proof:   Proof{Signature: Signature{Header: "circleci-signature", Format: KeyValue, Tag: "v1"}, Algorithm: HMACSHA256},
		EventID: path("id"), Type: path("type"),
	},
	{
		Name:  "buildkite",
		Proof: fields("X-Buildkite-Signature", "timestamp", "signature", Seconds, 5*minute),
		Type:  named("X-Buildkite-Event"), IdentityBody: true,
	},
	{
		Name: "buildkite_token", Proof: token("X-Buildkite-Token"),
		Type: named("X-Buildkite-Event"), IdentityBody: true,
	},
	{Name: "sentry", Proof: hexMAC("Sentry-Hook-Signature"), EventID: named("Request-ID"), Type: named("Sentry-Hook-Resource")},
	{
		Name:    "pagerduty",
		Proof:   Proof{Signature: Signature{Header: "X-PagerDuty-Signature", Format: KeyValue, Tag: "v1"}, Algorithm: HMACSHA256},
		EventID: path("event.id"), Type: path("event.event_type"),
	},
	{Name: "vercel", Proof: mac("x-vercel-signature", HMACSHA1, Hex, ""), EventID: path("id"), Type: path("type")},
	{
		Name: "heroku", Proof: base64MAC("Heroku-Webhook-Hmac-SHA256"),
		EventID: path("webhook_metadata.delivery.id"), Type: path("webhook_metadata.event.include"),
	},
	{
		Name: "netlify",
		Proof: Proof{
			Signature: Signature{Header: "X-Webhook-Signature", Encoding: Text},
			JWT:       &JWT{Algorithms: []string{"HS256"}, Issuer: "netlify", BodyHash: "sha256"},
		},
		Type: path("state"), IdentityBody: true,
	},
	{Name: "launchdarkly", Aliases: []string{"launch_darkly"}, Proof: hexMAC("X-LD-Signature"), EventID: path("_id"), Type: path("kind")},
	{
		Name: "sonatype", Aliases: []string{"nexus"}, Proof: mac("X-Nexus-Webhook-Signature", HMACSHA1, Hex, ""),
		EventID: named("X-Nexus-Webhook-Delivery"), Type: named("X-Nexus-Webhook-Id"), NoRetries: true,
	},
	{
		Name: "terraform", Aliases: []string{"tfc", "tfe"}, Proof: mac("X-TFE-Notification-Signature", HMACSHA512, Hex, ""),
		Type: path("notifications.0.trigger"), IdentityBody: true,
	},
	{
		Name: "terraform_run_task", Proof: mac("X-TFC-Task-Signature", HMACSHA512, Hex, ""),
		Type: path("stage"), IdentityBody: true,
	},
	{Name: "npm", Proof: mac("x-npm-signature", HMACSHA256, Hex, "sha256="), Type: path("event"), IdentityBody: true},
	{
		Name: "mongodb", Aliases: []string{"atlas", "mongodb_atlas"}, Proof: mac("X-MMS-Signature", HMACSHA1, Base64, ""),
		EventID: path("id"), Type: named("X-MMS-Event"), IdentityBody: true,
	},
	{
		Name: "signalsciences", Aliases: []string{"signal_sciences", "fastly"}, Proof: hexMAC("X-SigSci-Signature"),
		Type: path("type"), IdentityBody: true,
	},
	{
		Name: "trendmicro", Aliases: []string{"trendmicro_conformity"}, Proof: hexMAC("X-Conformity-Signature"),
		EventID: path("id"), Type: path("event"),
	},
	{Name: "doppler", Proof: mac("X-Doppler-Signature", HMACSHA256, Hex, "sha256="), Type: path("type"), IdentityBody: true},
	{
		Name: "autodesk", Aliases: []string{"aps", "autodesk_aps"}, Proof: mac("x-adsk-signature", HMACSHA1, Hex, "sha1hash="),
		EventID: named("x-adsk-delivery-id"), Type: path("hook.event"),
	},
	{
		Name: "configcat",
		Proof: Proof{
			Signature: Signature{Header: "X-ConfigCat-Webhook-Signature-V1", Format: List, Encoding: Base64}, Algorithm: HMACSHA256,
			Message:   header("X-ConfigCat-Webhook-ID") + ts + body,
			Timestamp: &Timestamp{Value: header("X-ConfigCat-Webhook-Timestamp"), Tolerance: unchecked},
		},
		EventID: named("X-ConfigCat-Webhook-ID"),
	},
	{Name: "datadog", Proof: token("Authorization"), IdentityBody: true},
	{Name: "newrelic", Aliases: []string{"new_relic"}, Proof: token("Authorization"), IdentityBody: true},
	{Name: "vmware", Proof: basic(), IdentityBody: true},
	{Name: "auth0", Proof: token("Authorization"), EventID: path("log_id"), Type: path("data.type")},
	{
		Name: "okta", Proof: token("Authorization"),
		EventID: path("eventId"), Type: path("eventType"), Handshakes: oktaHandshakes,
	},
	{Name: "alchemy", Proof: hexMAC("X-Alchemy-Signature"), EventID: path("id"), Type: path("type")},
	{
		// A gateway: what it forwards may be the same bytes for different events.
		Name: "convoy", Proof: hexMAC("X-Convoy-Signature"), Unidentified: "a gateway whose bodies may repeat",
	},
	{
		Name: "convoy_advanced", Proof: convoyAdvanced(), Unidentified: "a gateway whose bodies may repeat",
	},
	{
		Name:    "hookdeck",
		Proof:   Proof{Signature: Signature{Header: "X-Hookdeck-Signature", More: []string{"X-Hookdeck-Signature-2"}, Encoding: Base64}, Algorithm: HMACSHA256},
		EventID: named("X-Hookdeck-EventID"),
	},
}

// forge is Gitea and its relatives.
func forge(name, word string) Scheme {
	return Scheme{
		Name:    name,
		Proof:   hexMAC("X-" + word + "-Signature"),
		EventID: named("X-" + word + "-Delivery"), Type: named("X-" + word + "-Event"),
		NoRetries: true,
	}
}

// convoyAdvanced has a comma between time and body.
func convoyAdvanced() Proof {
	p := fields("X-Convoy-Signature", "t", "v1", Seconds, 5*minute)
	p.Message = ts + "," + body
	return p
}
