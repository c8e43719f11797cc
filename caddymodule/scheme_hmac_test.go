// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// Whatever the table says of a provider a user can say of another one.
func TestDescriptionCanSayAllThatAPresetCan(t *testing.T) {
	for _, name := range scheme.Names() {
		preset, _ := scheme.Preset(name)
		described, err := json.Marshal(preset)
		if err != nil {
			t.Fatal(err)
		}
		module := new(HMACScheme)
		text := `{"secrets":["x"],` + string(described[1:])
		if err := caddy.StrictUnmarshalJSON([]byte(text), module); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := module.Describe()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if preset.JWT != nil {
			got.Algorithm = preset.Algorithm // of no meaning there
		}
		for i := range got.Also {
			got.Also[i].Algorithm = preset.Also[i].Algorithm
		}
		a, _ := json.Marshal(preset)
		b, _ := json.Marshal(got)
		if string(a) != string(b) {
			t.Errorf("%s became\n%s\nfrom\n%s", name, b, a)
		}
		if err := module.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every field of a description has a word: what is written out here for a field
// that is new makes this test fail until the grammar knows it.
func TestEveryFieldOfADescriptionHasAWord(t *testing.T) {
	words := map[string]string{
		"Name": "name", "Proof": "", "Also": "also", "Sealed": "sealed", "EventID": "event_id", "Type": "type", "Identity": "identity",
		"IdentityAlone": "identity", "IdentityBody": "identity", "MaxBody": "max_size", "Response": "response",
		"RejectStatus": "reject_status", "NoRetries": "retries", "Methods": "methods", "Handshakes": "handshake",
		"Signature": "", "Algorithm": "algorithm", "Key": "key", "Message": "payload", "Timestamp": "timestamp",
		"Canonical": "canonical", "KeyID": "key_id", "KeyURL": "key_url", "KeyService": "key_service", "JWT": "jwt", "Require": "require",
		"Header": "header", "More": "headers", "Numbered": "numbered", "Lines": "lines", "Body": "json", "Form": "form",
		"Query": "query", "Whole": "whole_body", "Format": "format", "Prefix": "header", "Separator": "format",
		"Tag": "format", "Field": "format", "Groups": "groups", "Quoted": "quoted", "Spaces": "spaces", "Encoding": "encoding",
		// Of the table alone.
		"Title": "", "Secret": "", "Aliases": "", "Unidentified": "",
	}
	for _, of := range []any{scheme.Scheme{}, scheme.Proof{}, scheme.Signature{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(of)) {
			word, ok := words[field.Name]
			_, proof := proofWords[word]
			_, event := eventWords[word]
			if !ok || word != "" && !proof && !event && word != "handshake" && word != "also" {
				t.Errorf("%s has no word", field.Name)
			}
		}
	}
}

func TestOwnSchemeVerifiesWithEventIDAndHandshake(t *testing.T) {
	app := newUpstream(t, nil)
	h, _ := relayBlock(t, app, "memory", `verify hmac sha256 0123456789abcdef0123 {
		name acme
		header X-Acme-Signature
		format fields v1
		payload "{http.relay.timestamp}.{http.request.body}"
		timestamp {http.relay.signature.t} 2m s
		event_id {http.relay.body.id}
		type {http.relay.body.kind}
		response 202 thanks
		reject_status 403
		max_size 2MiB
		retries no
		token sesame
		handshake GET {
			when {http.request.uri.query.challenge}
			token {http.request.uri.query.token}
			challenge {http.request.uri.query.challenge} [a-z]+
			body "hello {http.relay.challenge}"
		}
	}`)
	if w := serve(t, h, request("GET", "/in?challenge=abc&token=sesame", "")); w.Code != 200 || w.Body.String() != "hello abc" {
		t.Errorf("the handshake got %d %q", w.Code, w.Body)
	}
	for _, wrong := range []string{"/in?challenge=abc&token=other", "/in?challenge=ABC&token=sesame"} {
		if w := serve(t, h, request("GET", wrong, "")); w.Code < 400 || strings.Contains(w.Body.String(), "hello") {
			t.Errorf("%s got %d %q", wrong, w.Code, w.Body)
		}
	}
	const body = `{"id":"e1","kind":"order.paid"}`
	set, err := h.bindings[0].verifier().Sign(&scheme.Request{Method: "POST", Body: []byte(body)}, "", h.now())
	if err != nil {
		t.Fatal(err)
	}
	r := withHeader(post("/in", body), "X-Acme-Signature", set.Get("X-Acme-Signature"))
	if w := serve(t, h, r); w.Code != 202 || w.Body.String() != "thanks" {
		t.Errorf("the event got %d %q", w.Code, w.Body)
	}
	got := (<-app.got).request.Header
	if got.Get("Relay-Verified") != "acme" || got.Get("Relay-Event-Id") != "e1" || got.Get("Relay-Type") != "order.paid" {
		t.Errorf("delivered with %v", got)
	}
	if h.MaxSize != 2<<20 || !h.rule.redeliver(h.bindings[0].scheme) {
		t.Errorf("max_size %d", h.MaxSize)
	}
	forged := withHeader(post("/in", body+" "), "X-Acme-Signature", set.Get("X-Acme-Signature"))
	if w := serve(t, h, forged); w.Code != 403 {
		t.Errorf("a forged event got %d", w.Code)
	}
}

func TestFactsOfAPresetAreHonoured(t *testing.T) {
	h, _ := relayBlock(t, newUpstream(t, nil), "memory", "verify github 0123456789abcdef0123")
	if h.MaxSize != 25<<20 || !h.rule.redeliver(h.bindings[0].scheme) {
		t.Errorf("GitHub: max_size %d", h.MaxSize)
	}
	own, _ := relayBlock(t, newUpstream(t, nil), "memory", "verify github 0123456789abcdef0123", "max_size 2MiB", "dedupe 7d {\n on_duplicate drop\n}")
	if own.MaxSize != 2<<20 || own.rule.redeliver(own.bindings[0].scheme) {
		t.Errorf("configured otherwise: max_size %d", own.MaxSize)
	}
	for line, want := range map[string]int{"": 498, "reject_status 403": 403} {
		h, _ := relayBlock(t, newUpstream(t, nil), "memory", "verify gocardless 0123456789abcdef0123", line)
		if w := serve(t, h, withHeader(post("/in", "{}"), "Webhook-Signature", strings.Repeat("00", 32))); w.Code != want {
			t.Errorf("GoCardless, %q: a forged request got %d", line, w.Code)
		}
	}
}

func TestHeaderThatCaddyDropsIsWarnedAbout(t *testing.T) {
	const block = ":0 {\n\trelay /in a:1 {\n\t\tverify hmac 0123456789abcdef0123 {\n\t\t\theader X_Acme_Signature\n\t\t}\n\t}\n}\n"
	start(t, memoryOptions+block)
	if !logged("Caddy drops the header that carries the signature") {
		t.Error("there is no warning")
	}
	start(t, strings.Replace(memoryOptions, "{\n\trelay", "{\n\tservers {\n\t\texpected_underscore_headers X_Acme_Signature\n\t}\n\trelay", 1)+block)
	if logged("Caddy drops the header that carries the signature") {
		t.Error("there is a warning although the header is listed")
	}
}
