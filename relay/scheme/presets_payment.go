// SPDX-License-Identifier: Apache-2.0

package scheme

import "net/http"

// paymentPresets are payment, banking and trade.
var paymentPresets = []Scheme{
	{
		Name:    "paddle",
		Proof:   separated(fields("Paddle-Signature", "ts", "h1", Seconds, 5*minute), ";", ts+":"+body),
		EventID: path("event_id"), Type: path("event_type"),
	},
	{
		Name: "square", Proof: keyedMessage(base64MAC("x-square-hmacsha256-signature"), "{http.relay.url}"+body),
		EventID: path("event_id"), Type: path("type"),
	},
	{Name: "razorpay", Proof: hexMAC("X-Razorpay-Signature"), EventID: named("X-Razorpay-Event-Id"), Type: path("event")},
	{
		Name: "gocardless", Proof: hexMAC("Webhook-Signature"),
		EventID: []string{in("meta.webhook_id"), in("events.0.id")}, Type: []string{in("events.0.resource_type") + "." + in("events.0.action")},
		Identity:     path("events.*.id"),
		RejectStatus: 498,
	},
	{
		Name: "moderntreasury", Aliases: []string{"modern_treasury"}, Proof: hexMAC("X-Signature"),
		Type: path("event"), IdentityBody: true,
	},
	{
		Name: "worldline",
		Proof: Proof{
			Signature: Signature{Header: "X-GCS-Signature", Encoding: Base64}, Algorithm: HMACSHA256,
			KeyID: header("X-GCS-KeyId"),
		},
		EventID: path("id"), Type: path("type"), Handshakes: worldlineHandshakes,
	},
	{
		Name: "coinbase", Aliases: []string{"coinbase_commerce"}, Proof: hexMAC("X-CC-Webhook-Signature"),
		EventID: path("event.id"), Type: path("event.type"),
	},
	{
		Name: "coinbasecdp", Aliases: []string{"hook0"}, Proof: canonical(fieldsWithout("X-Hook0-Signature"), "hook0"),
		// Hook0 signs without headers where it is told to.
		Also:    []Proof{fields("X-Hook0-Signature", "t", "v0", Seconds, 5*minute)},
		EventID: named("X-Event-Id"), Type: named("X-Event-Type"),
	},
	{
		Name:  "adyen",
		Proof: Proof{Signature: Signature{Body: "notificationItems", Encoding: Base64}, Algorithm: HMACSHA256, Key: HexKey, Canonical: "adyen-items"},
		Type:  path("notificationItems.0.NotificationRequestItem.eventCode"), IdentityBody: true,
		Response: &Response{Body: "[accepted]", ContentType: "text/plain"},
	},
	{
		Name: "adyenbanking", Aliases: []string{"adyen_platform"}, Proof: keyed(base64MAC("HmacSignature"), HexKey),
		Type: path("type"), IdentityBody: true,
	},
	{
		Name: "braintree",
		Proof: Proof{
			Signature: Signature{Form: "bt_signature", Format: Pairs, Encoding: Hex}, Algorithm: HMACSHA1,
			Key: SHA1Key, Canonical: "braintree",
		},
		IdentityBody: true, Handshakes: braintreeHandshakes,
	},
	{
		Name: "mercadopago", Aliases: []string{"mercado_pago"}, Proof: canonical(fieldsOf("x-signature", "ts", "v1"), "mercadopago"),
		EventID: path("id"), Type: []string{in("type"), in("action")},
	},
	{
		Name: "paypal",
		Proof: Proof{
			Signature: Signature{Header: "Paypal-Transmission-Sig", Encoding: Base64}, Algorithm: RSASHA256, Canonical: "paypal",
			Timestamp: &Timestamp{Value: header("Paypal-Transmission-Time"), Unit: RFC3339, Tolerance: unchecked},
			KeyURL:    &KeyURL{Value: header("Paypal-Cert-Url"), Pattern: `https://api\.(sandbox\.)?paypal\.com/v1/notifications/certs/[A-Za-z0-9._-]+`},
			Require:   map[string]string{header("Paypal-Auth-Algo"): "SHA256withRSA"},
		},
		EventID: path("id"), Type: path("event_type"),
	},
	{
		Name: "plaid",
		Proof: Proof{
			Signature:  Signature{Header: "Plaid-Verification", Encoding: Text},
			JWT:        &JWT{Algorithms: []string{"ES256"}, KeyIDs: true, BodyHash: "request_body_sha256", MaxAge: 5 * minute},
			KeyService: &KeyService{URL: "https://production.plaid.com/webhook_verification_key/get", Protocol: "plaid"},
		},
		Type: []string{in("webhook_type") + "." + in("webhook_code")}, IdentityBody: true,
	},
	{
		Name:    "wise",
		Proof:   Proof{Signature: Signature{Header: "X-Signature-SHA256", Encoding: Base64}, Algorithm: RSASHA256, Key: PEMKey},
		EventID: named("X-Delivery-Id"), Type: path("event_type"),
	},
	{
		Name: "wechatpay", Aliases: []string{"wechat_pay"},
		Proof: Proof{
			Signature: Signature{Header: "Wechatpay-Signature", Encoding: Base64}, Algorithm: RSASHA256, Key: PEMKey,
			KeyID:     header("Wechatpay-Serial"),
			Message:   ts + "\n" + header("Wechatpay-Nonce") + "\n" + body + "\n",
			Timestamp: &Timestamp{Value: header("Wechatpay-Timestamp"), Unit: Seconds, Tolerance: 5 * minute},
		},
		EventID: path("id"), Type: path("event_type"),
	},
	{
		Name:    "alipay",
		Proof:   Proof{Signature: Signature{Form: "sign", Encoding: Base64}, Algorithm: RSASHA256, Key: PEMKey, Canonical: "alipay"},
		EventID: []string{"{http.relay.form.notify_id}"}, Type: []string{"{http.relay.form.notify_type}"},
		Response: &Response{Body: "success", ContentType: "text/plain"},
	},
	{
		Name: "ebay",
		Proof: Proof{
			Signature: Signature{Header: "X-EBAY-SIGNATURE", Format: Base64JSON, Tag: "signature", Encoding: Base64},
			Algorithm: ECDSASHA1, Key: PEMKey, KeyID: element("kid"),
			KeyService: &KeyService{URL: "https://api.ebay.com/commerce/notification/v1/public_key/", Protocol: "ebay"},
		},
		EventID: path("notification.notificationId"), Type: path("metadata.topic"),
		RejectStatus: http.StatusPreconditionFailed, Handshakes: ebayHandshakes,
	},
	{
		Name: "recurly",
		Proof: stamped(Proof{Signature: Signature{Header: "recurly-signature", Format: Positional, Field: "ts"}, Algorithm: HMACSHA256},
			ts+"."+body, Timestamp{Value: element("ts"), Unit: Milliseconds, Tolerance: 5 * minute}),
		Type: []string{in("object_type") + "." + in("event_type")}, IdentityBody: true,
	},
	{
		Name:    "orb",
		Proof:   orbProof(),
		EventID: path("id"), Type: path("type"),
	},
	{Name: "lemonsqueezy", Aliases: []string{"lemon_squeezy"}, Proof: hexMAC("X-Signature"), Type: named("X-Event-Name"), IdentityBody: true},
	{Name: "paystack", Proof: mac("X-Paystack-Signature", HMACSHA512, Hex, ""), Type: path("event"), IdentityBody: true},
	{
		Name: "chargify", Aliases: []string{"maxio"}, Proof: hexMAC("X-Chargify-Webhook-Signature-Hmac-Sha-256"),
		EventID: named("X-Chargify-Webhook-Id"), Type: []string{"{http.relay.form.event}"},
	},
	{Name: "chargebee", Proof: basic(), EventID: path("id"), Type: path("event_type")},
	{Name: "checkoutcom", Aliases: []string{"checkout_com"}, Proof: hexMAC("Cko-Signature"), EventID: path("id"), Type: path("type")},
	{Name: "quickbooks", Aliases: []string{"intuit"}, Proof: base64MAC("intuit-signature"), IdentityBody: true},
	{
		Name: "authorizenet", Aliases: []string{"authorize_net"}, Proof: keyed(mac("X-ANET-Signature", HMACSHA512, Hex, "sha512="), HexKey),
		EventID: path("notificationId"), Type: path("eventType"),
	},
	{Name: "bolt", Proof: base64MAC("X-Bolt-Hmac-Sha256"), EventID: path("id"), Type: path("type"), IdentityBody: true},
	{Name: "dwolla", Proof: hexMAC("X-Request-Signature-SHA-256"), EventID: path("id"), Type: path("topic")},
	{
		Name: "primer", Proof: base64MAC("X-Signature-Primary"), Type: path("eventType"), IdentityBody: true,
	},
	{
		Name: "airwallex", Proof: stamped(hexMAC("x-signature"), ts+body, Timestamp{Value: header("x-timestamp"), Tolerance: unchecked}),
		EventID: path("id"), Type: path("name"),
	},
	{Name: "affirm", Proof: affirmProof(), IdentityBody: true},
	{
		Name: "flutterwave", Proof: base64MAC("flutterwave-signature"),
		Type: []string{in("type"), in("event")}, IdentityBody: true,
	},
	{Name: "flutterwave_v3", Proof: token("verif-hash"), Type: path("event"), IdentityBody: true},
	{Name: "squarespace", Proof: keyed(hexMAC("Squarespace-Signature"), HexKey), EventID: path("id"), Type: path("topic")},
	{Name: "woocommerce", Proof: base64MAC("X-WC-Webhook-Signature"), EventID: named("X-WC-Webhook-Delivery-ID"), Type: named("X-WC-Webhook-Topic"), NoRetries: true},
	{Name: "bigcommerce", Proof: token("Authorization"), Type: path("scope"), IdentityBody: true},
	{Name: "xero", Proof: base64MAC("x-xero-signature"), Type: path("events.0.eventType"), IdentityBody: true},
	{
		Name: "aftership", Proof: base64MAC("aftership-hmac-sha256"), EventID: path("event_id"), Type: path("event"), IdentityBody: true,
	},
	{Name: "shippo", Proof: fields("Shippo-Auth-Signature", "t", "v1", Seconds, 5*minute), Type: path("event"), IdentityBody: true},
	{
		Name: "pinwheel", Proof: versioned("x-pinwheel-signature", "v2", "X-Timestamp"),
		EventID: path("event_id"), Type: path("event"),
	},
}

// separated changes the separator of fields and the message.
func separated(p Proof, separator, message string) Proof {
	p.Signature.Separator, p.Message = separator, message
	return p
}

// keyedMessage is a proof over a message without a time.
func keyedMessage(p Proof, message string) Proof {
	p.Message = message
	return p
}

// fieldsOf is that of fields with a time, for a canonical form.
func fieldsOf(name, time, tag string) Proof {
	p := fields(name, time, tag, AutoUnit, unchecked)
	p.Message = ""
	return p
}

// fieldsWithout is that of Hook0, for its canonical form.
func fieldsWithout(name string) Proof {
	p := fields(name, "t", "v1", Seconds, 5*minute)
	p.Message = ""
	return p
}

// orbProof repeats its header, one signature a line, and writes times without a zone.
func orbProof() Proof {
	p := versioned("X-Orb-Signature", "v1", "X-Orb-Timestamp")
	p.Signature.Lines = true
	p.Timestamp.Unit = ISOUTC
	return p
}

func affirmProof() Proof {
	p := fields("X-Affirm-Signature", "t", "v0", Seconds, 5*minute)
	p.Algorithm = HMACSHA512
	return p
}
