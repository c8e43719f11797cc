// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// handshakeWords are the words of a handshake, and how many arguments they take.
var handshakeWords = map[string]struct{ least, most int }{
	"when": {1, 2}, "challenge": {1, 2}, "body": {1, 2}, "header": {2, 2},
	"token": {1, 1}, "compute": {1, 1}, "status": {1, 1}, "refuse": {1, 1},
	"signed": {}, "learn": {}, "visit": {},
}

// parseHandshake reads a question of the provider and its answer. Syntax:
//
//	handshake [<method>] {
//	    when      <template> [<value>]
//	    signed
//	    token     <template>
//	    challenge <template> [<pattern>]
//	    compute   mac-hex|mac-base64
//	    status    <status>
//	    refuse    <status>
//	    header    <field> <template>
//	    body      <template> [<content type>]
//	    learn
//	    visit
//	}
func (h *HMACScheme) parseHandshake(d *caddyfile.Dispenser) error {
	var question scheme.Handshake
	methods, err := httpMethods(d, d.RemainingArgs())
	if err != nil {
		return err
	}
	if len(methods) > 1 {
		return d.Err("handshake takes one method")
	}
	if len(methods) == 1 && methods[0] != http.MethodPost {
		question.Method = methods[0]
	}
	head := *d
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := once(d, seen, d.Val(), []string{"when", "header"}); err != nil {
			return err
		}
		if err := parseHandshakeOption(&question, d); err != nil {
			return err
		}
	}
	if len(question.When) == 0 && question.Method != http.MethodHead {
		return head.Err("handshake needs when, which tells the question from an event, as in when {http.relay.body.type} verification")
	}
	h.Handshakes = append(h.Handshakes, question)
	return nil
}

// parseHandshakeOption reads one line of the block of a handshake.
func parseHandshakeOption(h *scheme.Handshake, d *caddyfile.Dispenser) error {
	word := d.Val()
	bounds, ok := handshakeWords[word]
	if !ok {
		return unknownWord(d, "handshake", slices.Collect(maps.Keys(handshakeWords)))
	}
	args := d.RemainingArgs()
	if len(args) < bounds.least || len(args) > bounds.most {
		return d.Errf("%s of handshake has %d values, it takes %d to %d; put quotes around one with spaces", word, len(args), bounds.least, bounds.most)
	}
	second := ""
	if len(args) > 1 {
		second = args[1]
	}
	var err error
	switch word {
	case "when":
		if h.When == nil {
			h.When = make(map[string]string)
		}
		h.When[args[0]] = second
	case "header":
		if !httpguts.ValidHeaderFieldName(args[0]) {
			return d.Errf("'%s' is no name of a header", args[0])
		}
		if h.Header == nil {
			h.Header = make(map[string]string)
		}
		h.Header[args[0]] = second
	case "challenge":
		h.Challenge, h.Pattern = args[0], second
	case "body":
		h.Body, h.ContentType = args[0], second
	case "token":
		h.Token = args[0]
	case "compute":
		h.Compute = args[0]
	case "status":
		h.Status, err = handshakeStatus(d, args[0], 200, 299)
	case "refuse":
		h.Refuse, err = handshakeStatus(d, args[0], 400, 499)
	case "signed":
		h.Signed = true
	case "learn":
		h.Learn = true
	case "visit":
		h.Visit = true
	}
	return err
}

// handshakeStatus reads a status between two.
func handshakeStatus(d *caddyfile.Dispenser, text string, least, most int) (int, error) {
	status, err := strconv.Atoi(text)
	if err != nil || status < least || status > most {
		return 0, d.Errf("handshake: '%s' is no status from %d to %d", text, least, most)
	}
	return status, nil
}
