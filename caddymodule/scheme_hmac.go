// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// HMACScheme verifies requests by a description in the configuration, which can
// say all that is known of a preset. It is named after what most senders sign
// with.
//
// Templates may hold {http.request.method}, {http.request.host},
// {http.request.uri}, {http.request.uri.path}, {http.request.uri.query.*},
// {http.request.header.*}, {http.request.body}, {http.relay.body.*},
// {http.relay.form.*}, {http.relay.url} and {http.relay.url.base}; a signed text
// {http.relay.timestamp}, {http.relay.signature.*} and {http.relay.secret} as
// well. They are evaluated on the request as received, and what the sender put
// there is never expanded.
type HMACScheme struct {
	scheme.Scheme

	Secrets
}

// CaddyModule returns the Caddy module information.
func (*HMACScheme) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay.schemes.hmac", New: func() caddy.Module { return new(HMACScheme) }}
}

// hmacName is the name of a scheme that is given none.
const hmacName = "hmac"

// algorithms are the algorithms by the word for them; the hash alone stands for
// an HMAC with it.
var algorithms = map[string]scheme.Algorithm{
	"sha1":                      scheme.HMACSHA1,
	"sha256":                    scheme.HMACSHA256,
	"sha384":                    scheme.HMACSHA384,
	"sha512":                    scheme.HMACSHA512,
	string(scheme.DigestSHA256): scheme.DigestSHA256,
	string(scheme.Ed25519):      scheme.Ed25519,
	string(scheme.ECDSASHA256):  scheme.ECDSASHA256,
	string(scheme.ECDSASHA1):    scheme.ECDSASHA1,
	string(scheme.RSASHA256):    scheme.RSASHA256,
	string(scheme.RSASHA1):      scheme.RSASHA1,
	string(scheme.Token):        scheme.Token,
}

// Validate reports a contradiction in the description. It needs no secret.
func (h *HMACScheme) Validate() error {
	if err := h.check(); err != nil {
		return fmt.Errorf("verify %s: %w%s", cmp.Or(h.Name, hmacName), err, at(h.Origin))
	}
	return nil
}

func (h *HMACScheme) check() error {
	described, err := h.Describe()
	if err != nil {
		return err
	}
	if s := described.Signature; s.Header == "" && s.Body == "" && s.Form == "" && s.Query == "" && !s.Whole {
		return fmt.Errorf("it needs to know which header carries the signature: header <field> [<prefix>]")
	}
	if err := described.Validate(); err != nil {
		return err
	}
	if err := checkPinned(described); err != nil {
		return err
	}
	return h.Secrets.check(described)
}

// checkPinned reports an address that a request may name freely, although the
// relay goes there.
func checkPinned(s *scheme.Scheme) error {
	if s.KeyURL != nil && !pinsHost(s.KeyURL.Pattern) {
		return fmt.Errorf("key_url: the pattern '%s' must pin the host of the key: begin it with https:// and the host", s.KeyURL.Pattern)
	}
	for _, question := range s.Handshakes {
		if question.Visit && !pinsHost(question.Pattern) {
			return fmt.Errorf("handshake: visit needs a challenge with a pattern that pins the host: begin it with https:// and the host")
		}
	}
	return nil
}

// pinsHost reports whether everything that a pattern matches begins with https://
// and the beginning of a host.
func pinsHost(pattern string) bool {
	parsed, err := regexp.Compile(pattern)
	if err != nil {
		return false
	}
	begins, _ := parsed.LiteralPrefix()
	return len(begins) > len("https://") && strings.HasPrefix(begins, "https://")
}

// Describe returns the description with its defaults.
func (h *HMACScheme) Describe() (*scheme.Scheme, error) {
	s := h.Scheme.Clone()
	s.Name = cmp.Or(s.Name, hmacName)
	s.Algorithm = cmp.Or(s.Algorithm, scheme.HMACSHA256)
	for i := range s.Also {
		s.Also[i].Algorithm = cmp.Or(s.Also[i].Algorithm, s.Algorithm)
	}
	return s, nil
}

// Interface guards
var (
	_ SchemeModule    = (*HMACScheme)(nil)
	_ caddy.Validator = (*HMACScheme)(nil)
)
