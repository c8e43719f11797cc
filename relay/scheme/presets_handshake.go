// SPDX-License-Identifier: Apache-2.0

package scheme

import "net/http"

const (
	challenge = "{http.relay.challenge}"
	computed  = "{http.relay.challenge.answer}"

	jsonType = "application/json"
	// printable is for answers that are text and nothing else.
	printable = `[ -~]{1,1000}`
)

// query names a parameter of the request's URL.
func query(name string) string { return "{http.request.uri.query." + name + "}" }

// The handshakes of the presets.
var (
	slackHandshakes = []Handshake{{
		When: map[string]string{in("type"): "url_verification"}, Signed: true,
		Challenge: in("challenge"), Body: challenge,
	}}
	metaHandshakes = []Handshake{{
		Method: http.MethodGet, When: map[string]string{query("hub.mode"): "subscribe", query("hub.challenge"): ""},
		Token: query("hub.verify_token"), Challenge: query("hub.challenge"), Body: challenge,
	}}
	twitchHandshakes = []Handshake{{
		When: map[string]string{header("Twitch-Eventsub-Message-Type"): "webhook_callback_verification"}, Signed: true,
		Challenge: in("challenge"), Body: challenge,
	}}
	// The answer is a MAC with the key that signs events, which are JSON: the
	// pattern keeps it from signing one.
	xHandshakes = []Handshake{{
		Method: http.MethodGet, When: map[string]string{query("crc_token"): ""},
		Challenge: query("crc_token"), Compute: "mac-base64",
		ContentType: jsonType, Body: `\{"response_token":"sha256=` + computed + `"\}`,
	}}
	// The same holds here; events are signed behind `v0:`, whose colon the pattern refuses.
	zoomHandshakes = []Handshake{{
		When: map[string]string{in("event"): "endpoint.url_validation"}, Signed: true,
		Challenge: in("payload.plainToken"), Compute: "mac-hex",
		ContentType: jsonType, Body: `\{"plainToken":"` + challenge + `","encryptedToken":"` + computed + `"\}`,
	}}
	braintreeHandshakes = []Handshake{{
		Method: http.MethodGet, When: map[string]string{query("bt_challenge"): ""},
		Challenge: query("bt_challenge"), Pattern: `[0-9a-f]{20,32}`, Compute: "mac-hex",
		Body: "{http.relay.key_id}|" + computed,
	}}
	challengeHandshakes = []Handshake{{
		Method: http.MethodGet, When: map[string]string{query("challenge"): ""},
		Challenge: query("challenge"), Body: challenge,
	}}
	graphHandshakes = []Handshake{{
		When:      map[string]string{query("validationToken"): ""},
		Challenge: query("validationToken"), Pattern: printable, Body: challenge,
	}}
	ebayHandshakes = []Handshake{{
		Method: http.MethodGet, When: map[string]string{query("challenge_code"): ""},
		Challenge: query("challenge_code"), Compute: "ebay",
		ContentType: jsonType, Body: `\{"challengeResponse":"` + computed + `"\}`,
	}}
	oktaHandshakes = []Handshake{{
		Method: http.MethodGet, When: map[string]string{header("X-Okta-Verification-Challenge"): ""},
		Challenge:   header("X-Okta-Verification-Challenge"),
		ContentType: jsonType, Body: `\{"verification":"` + challenge + `"\}`,
	}}
	worldlineHandshakes = []Handshake{{
		Method: http.MethodGet, When: map[string]string{header("X-GCS-Webhooks-Endpoint-Verification"): ""},
		Challenge: header("X-GCS-Webhooks-Endpoint-Verification"), Body: challenge,
	}}
	mondayHandshakes = []Handshake{{
		When:      map[string]string{in("challenge"): ""},
		Challenge: in("challenge"), ContentType: jsonType, Body: `\{"challenge":"` + challenge + `"\}`,
	}}
	larkHandshakes = []Handshake{{
		When: map[string]string{in("type"): "url_verification"}, Token: in("token"),
		Challenge: in("challenge"), ContentType: jsonType, Body: `\{"challenge":"` + challenge + `"\}`,
	}}
	discordHandshakes = []Handshake{
		{When: map[string]string{in("type"): "1"}, Signed: true, ContentType: jsonType, Body: `\{"type":1\}`},
		{When: map[string]string{in("type"): "0"}, Signed: true, Status: http.StatusNoContent},
	}
	asanaHandshakes = []Handshake{{
		When: map[string]string{header("X-Hook-Secret"): ""}, Learn: true,
		Challenge: header("X-Hook-Secret"), Header: map[string]string{"X-Hook-Secret": challenge},
	}}
	notionHandshakes = []Handshake{{
		When: map[string]string{in("verification_token"): ""}, Learn: true,
		Challenge: in("verification_token"),
	}}
	snsHandshakes = []Handshake{{
		When: map[string]string{in("Type"): "SubscriptionConfirmation"}, Signed: true, Visit: true,
		Challenge: in("SubscribeURL"), Pattern: `https://sns\.[a-zA-Z0-9-]{3,}\.amazonaws\.com(\.cn)?/\?[A-Za-z0-9%&=:._~+-]+`,
	}}
	// The token is the one origin that may send.
	cloudeventsHandshakes = []Handshake{{
		Method: http.MethodOptions, When: map[string]string{header("WebHook-Request-Origin"): ""},
		Token: header("WebHook-Request-Origin"), Refuse: http.StatusMethodNotAllowed,
		Header: map[string]string{
			"WebHook-Allowed-Origin": header("WebHook-Request-Origin"),
			"WebHook-Allowed-Rate":   header("WebHook-Request-Rate"),
		},
	}}
	// The token is the topic.
	websubHandshakes = []Handshake{{
		Method: http.MethodGet, When: map[string]string{query("hub.challenge"): ""},
		Token: query("hub.topic"), Refuse: http.StatusNotFound,
		Challenge: query("hub.challenge"), Pattern: printable, Body: challenge,
	}}
	// Some providers only look whether the address exists.
	probeHandshakes = []Handshake{{Method: http.MethodHead}}
)
