// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// HMACScheme verifies requests that carry an HMAC in a header.
//
// Templates may hold {http.request.method}, {http.request.host},
// {http.request.uri}, {http.request.uri.query.*}, {http.request.header.*},
// {http.request.body} and {http.relay.body.*}. They are evaluated on the request
// as received, and what the sender put there is never expanded.
type HMACScheme struct {
	// The hash: `sha1`, `sha256` or `sha512`. Default: sha256.
	Algorithm string `json:"algorithm,omitempty"`

	// The header that carries the signature.
	Header string `json:"header"`

	// What stands before the signature in the header, and must. Default: nothing.
	Prefix string `json:"prefix,omitempty"`

	// How the signature is written: `hex`, `base64` or `base64url`. Default: hex.
	Encoding string `json:"encoding,omitempty"`

	// The template of the signed text. Default: {http.request.body}.
	Payload string `json:"payload,omitempty"`

	// The template of the time of signing, which the payload must contain.
	// Default: the sender signs no time.
	Timestamp string `json:"timestamp,omitempty"`

	// How far from now the time of signing may be, in both directions.
	// Default: 5m.
	Tolerance caddy.Duration `json:"tolerance,omitempty"`

	// How the secrets are written: `raw`, `hex`, `base64` or `base64url`.
	// Default: raw.
	Key string `json:"key,omitempty"`

	// The template of the sender's id of the event, which is also what makes two
	// requests the same event. Default: it has none.
	EventID string `json:"event_id,omitempty"`

	// The template of the event type. Default: it has none.
	Type string `json:"type,omitempty"`

	Secrets
}

// CaddyModule returns the Caddy module information.
func (*HMACScheme) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay.schemes.hmac", New: func() caddy.Module { return new(HMACScheme) }}
}

// hmacAlgorithms are the hashes by the word for them.
var hmacAlgorithms = map[string]scheme.Algorithm{
	"":       scheme.HMACSHA256,
	"sha256": scheme.HMACSHA256,
	"sha1":   scheme.HMACSHA1,
	"sha512": scheme.HMACSHA512,
}

// Provision resolves the secrets and checks the description.
func (h *HMACScheme) Provision(ctx caddy.Context) error {
	if err := h.check(); err != nil {
		return fmt.Errorf("verify hmac: %w%s", err, at(h.Origin))
	}
	return h.provision(ctx, "hmac")
}

// check reports a contradiction in what is configured. It needs no secret.
func (h *HMACScheme) check() error {
	if _, ok := hmacAlgorithms[h.Algorithm]; !ok {
		return fmt.Errorf("unknown algorithm '%s': it is sha256, sha1 or sha512", h.Algorithm)
	}
	if h.Header == "" {
		return fmt.Errorf("it needs to know which header carries the signature: header <field> [<prefix>]")
	}
	if h.Tolerance != 0 && h.Timestamp == "" {
		return fmt.Errorf("a tolerance needs a timestamp")
	}
	if !slices.Contains([]string{"", "raw", "hex", "base64", "base64url"}, h.Key) {
		return fmt.Errorf("unknown form of key '%s': it is raw, hex, base64 or base64url", h.Key)
	}
	return h.describe().Validate()
}

// describe translates the configuration.
func (h *HMACScheme) describe() *scheme.Scheme {
	s := &scheme.Scheme{
		Name: "hmac",
		Proof: scheme.Proof{
			Signature: scheme.Signature{Header: h.Header, Prefix: h.Prefix, Encoding: scheme.Encoding(h.Encoding)},
			Algorithm: hmacAlgorithms[h.Algorithm],
			Key:       scheme.KeyForm(h.Key),
			Message:   h.Payload,
		},
	}
	if h.Timestamp != "" {
		s.Timestamp = &scheme.Timestamp{Value: h.Timestamp, Tolerance: scheme.Duration(h.Tolerance)}
	}
	if h.EventID != "" {
		s.EventID = []string{h.EventID}
	}
	if h.Type != "" {
		s.Type = []string{h.Type}
	}
	return s
}

// Compile binds the scheme to its secrets.
func (h *HMACScheme) Compile(adjust func(*scheme.Scheme)) (*scheme.Verifier, error) {
	return h.compile(h.describe(), adjust)
}

// Interface guards
var (
	_ SchemeModule      = (*HMACScheme)(nil)
	_ caddy.Provisioner = (*HMACScheme)(nil)
)
