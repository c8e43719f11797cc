// SPDX-License-Identifier: Apache-2.0

package scheme

// standardPresets are those that follow Standard Webhooks.
var standardPresets = []Scheme{
	standard("standard_webhooks", "webhook", StandardKey, "standardwebhooks"),
	{
		Name:    "svix",
		Proof:   standardWebhooks("svix"),
		Also:    []Proof{standardWebhooks("webhook")},
		EventID: []string{header("svix-id"), header("webhook-id")}, Type: path("type"),
	},
	standard("openai", "webhook", StandardOrRawKey),
	standard("anthropic", "webhook", StandardKey),
	standard("brex", "webhook", StandardKey),
	standard("clerk", "svix", StandardKey),
	standard("etsy", "webhook", StandardKey),
	standard("gemini", "webhook", StandardKey),
	standard("gitlab_signed", "webhook", StandardKey),
	standard("incidentio", "webhook", StandardKey, "incident_io"),
	standard("increase", "webhook", StandardKey),
	standard("lithic", "webhook", StandardKey),
	standard("loops", "webhook", StandardKey),
	standard("polar", "webhook", RawKey),
	standard("render", "webhook", StandardKey),
	standard("replicate", "webhook", StandardKey),
	standard("resend", "svix", StandardKey),
	standard("stytch", "svix", StandardKey),
	standard("supabase", "webhook", StandardKey),
	standard("vanta", "svix", StandardKey),
	{
		Name:    "finch",
		Proof:   standardHeaders("Finch-Signature", "Finch-Event-Id", "Finch-Timestamp"),
		EventID: named("Finch-Event-Id"), Type: path("type"),
	},
}

// standard is a provider that follows Standard Webhooks under that header prefix.
func standard(name, prefix string, form KeyForm, aliases ...string) Scheme {
	kind := path("type")
	switch name {
	case "anthropic":
		kind = []string{in("data.type"), in("type")}
	case "gitlab_signed":
		kind = named("X-Gitlab-Event")
	}
	return Scheme{
		Name: name, Aliases: aliases,
		Proof:   keyed(standardWebhooks(prefix), form),
		EventID: named(prefix + "-id"), Type: kind,
	}
}
