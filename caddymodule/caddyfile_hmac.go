// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// proofWord is a word that describes how a request proves who sent it.
type proofWord struct {
	least, most int // arguments
	parse       func(p *scheme.Proof, d *caddyfile.Dispenser, args []string) error
}

// many is the bound of a word that takes any number of arguments.
const many = 1 << 10

// Words that may be repeated, each adding to a list.
var repeatedWords = []string{"secret", "keys", "require", "handshake", "also"}

var proofWords = map[string]proofWord{
	"algorithm":  {1, 1, parseAlgorithm},
	"header":     {1, 2, parseSignatureHeader},
	"headers":    {1, many, parseSignatureHeaders},
	"json":       {1, 2, placed(func(s *scheme.Signature) *string { return &s.Body })},
	"form":       {1, 2, placed(func(s *scheme.Signature) *string { return &s.Form })},
	"query":      {1, 2, placed(func(s *scheme.Signature) *string { return &s.Query })},
	"whole_body": flagged(func(p *scheme.Proof) *bool { return &p.Signature.Whole }),
	"numbered":   flagged(func(p *scheme.Proof) *bool { return &p.Signature.Numbered }),
	"lines":      flagged(func(p *scheme.Proof) *bool { return &p.Signature.Lines }),
	"groups":     flagged(func(p *scheme.Proof) *bool { return &p.Signature.Groups }),
	"quoted":     flagged(func(p *scheme.Proof) *bool { return &p.Signature.Quoted }),
	"spaces":     flagged(func(p *scheme.Proof) *bool { return &p.Signature.Spaces }),
	"format":     {1, 3, parseFormat},
	"encoding":   {1, 1, parseEncoding},
	"key":        {1, 1, parseKeyForm},
	"key_id":     {1, 1, parseKeyID},
	"key_url":    {2, 2, parseKeyURL},

	keyServiceWord: {1, 2, parseKeyService},
	"payload":      {1, 1, parsePayload},
	"canonical":    {1, 1, parseCanonical},
	"timestamp":    {1, 4, parseTimestamp},
	"require":      {2, 2, parseRequire},
	"jwt":          {1, many, parseJWT},
}

// flagged is a word without arguments.
func flagged(field func(*scheme.Proof) *bool) proofWord {
	return proofWord{0, 0, func(p *scheme.Proof, _ *caddyfile.Dispenser, _ []string) error {
		*field(p) = true
		return nil
	}}
}

// placed is a word that says where the signature is, and what stands before it.
func placed(field func(*scheme.Signature) *string) func(*scheme.Proof, *caddyfile.Dispenser, []string) error {
	return func(p *scheme.Proof, _ *caddyfile.Dispenser, args []string) error {
		*field(&p.Signature) = args[0]
		if len(args) > 1 {
			p.Signature.Prefix = args[1]
		}
		return nil
	}
}

// parseProof reads the option at the current token if it describes the proof.
func parseProof(p *scheme.Proof, d *caddyfile.Dispenser) (handled bool, err error) {
	word := d.Val()
	known, ok := proofWords[word]
	if !ok {
		return false, nil
	}
	args := d.RemainingArgs()
	if err := countArgs(d, word, args, known.least, known.most); err != nil {
		return true, err
	}
	return true, known.parse(p, d, args)
}

// countArgs reports too few or too many arguments of a word of verify hmac.
func countArgs(d *caddyfile.Dispenser, word string, args []string, least, most int) error {
	switch {
	case len(args) < least && least == 1:
		return d.Errf("%s of verify hmac needs a value", word)
	case len(args) < least:
		return d.Errf("%s of verify hmac needs %d values", word, least)
	case len(args) > most && most == 0:
		return d.Errf("%s of verify hmac takes no value", word)
	case len(args) > most:
		return d.Errf("%s of verify hmac has too many values; put quotes around one with spaces", word)
	default:
		return nil
	}
}

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	verify hmac [<algorithm>] [<secrets...>] {
//	    name       <name>
//	    secret     <secrets...>
//
//	    algorithm  sha256|sha1|sha384|sha512|digest-sha256|ed25519|ecdsa-p256-sha256|ecdsa-sha1|rsa-sha256|rsa-sha1|token
//	    key        raw|hex|base64|base64url|whsec|whsec-or-raw|sha1|pem|spki-base64
//	    key_id     <template>
//	    key_url    <template> <pattern>
//	    key_service <url> [jwks|plaid|ebay]
//
//	    header     <field> [<prefix>] | headers <fields...> | json <path> [<prefix>]
//	               | form <field> [<prefix>] | query <name> [<prefix>] | whole_body
//	    format     plain | fields <tag> [<separator>] | tagged <version> [<separator>] | list [<separator>]
//	               | positional <field> [<separator>] | pairs [<separator>] | detached-jws <field> | base64-json <key>
//	    numbered | lines | groups | quoted | spaces
//	    encoding   hex|base64|base64url|text
//
//	    payload    <template>
//	    canonical  <form>
//	    timestamp  <template> [<tolerance>|off] [s|ms|rfc3339|iso-utc] [no_future]
//	    require    <template> <value>
//	    jwt        <algorithms...> { key_ids  issuer <name>  claims <names...>  body_hash|url_hash|query_hash <claim>  max_age <duration> }
//	    also       { <how the signature may be sent instead> }
//
//	    sealed     <template>
//	    event_id   <templates...>
//	    type       <templates...>
//	    identity   [<templates...>] [body] [alone]
//	    response   <status> [<body> [<content type>]]
//	    reject_status <status>
//	    max_size   <size>
//	    methods    <methods...>
//	    retries    yes|no
//	    handshake  [<method>] { ... }
//
//	    token | keys | tolerance | expect_secret | overlap   # as for presets
//	}
func (h *HMACScheme) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the scheme
	h.Origin = place(d)
	h.Texts = d.RemainingArgs()
	if len(h.Texts) > 0 {
		first := h.Texts[0]
		if algorithm, ok := algorithms[first]; ok {
			h.Algorithm, h.Texts = algorithm, h.Texts[1:]
		} else if inline(first) && len(first) < weakSecret {
			// Taken for a secret, a mistyped algorithm would be one that all can guess.
			return d.Errf("verify hmac: unknown algorithm '%s': it is %s. A secret comes after it, as {env.NAME} or {file./absolute/path}",
				first, strings.Join(slices.Sorted(maps.Keys(algorithms)), ", "))
		}
	}
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		if err := once(d, seen, d.Val(), repeatedWords); err != nil {
			return err
		}
		if err := h.parseOption(d); err != nil {
			return err
		}
	}
	if err := h.complete(d, "hmac", h.Keyless()); err != nil {
		return err
	}
	if err := h.check(); err != nil {
		d.Reset()
		d.Next()
		return d.Errf("verify hmac: %w", err)
	}
	return nil
}

// parseOption reads one line of the block.
func (h *HMACScheme) parseOption(d *caddyfile.Dispenser) error {
	word := d.Val()
	if handled, err := h.parse(d); handled || err != nil {
		return err
	}
	if handled, err := parseProof(&h.Proof, d); handled || err != nil {
		return err
	}
	switch word {
	case "handshake":
		return h.parseHandshake(d)
	case "also":
		return h.parseAlso(d)
	}
	known, ok := eventWords[word]
	if !ok {
		return unknownWord(d, "verify hmac", slices.Concat(slices.Collect(maps.Keys(proofWords)),
			slices.Collect(maps.Keys(eventWords)), []string{"handshake", "also"}, secretWords))
	}
	args := d.RemainingArgs()
	if err := countArgs(d, word, args, known.least, known.most); err != nil {
		return err
	}
	return known.parse(&h.Scheme, d, args)
}

// unknownWord is the error for a word that a block does not have.
func unknownWord(d *caddyfile.Dispenser, block string, known []string) error {
	slices.Sort(known)
	return d.Errf("unknown option '%s' of %s: it has %s", d.Val(), block, strings.Join(known, ", "))
}

// parseAlso reads another way in which the signature may be sent.
func (h *HMACScheme) parseAlso(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	var other scheme.Proof
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := once(d, seen, d.Val(), repeatedWords); err != nil {
			return err
		}
		handled, err := parseProof(&other, d)
		if err != nil {
			return err
		}
		if !handled {
			return unknownWord(d, "also", slices.Collect(maps.Keys(proofWords)))
		}
	}
	h.Also = append(h.Also, other)
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*HMACScheme)(nil)
