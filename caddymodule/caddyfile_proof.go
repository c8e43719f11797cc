// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

func parseAlgorithm(p *scheme.Proof, d *caddyfile.Dispenser, args []string) error {
	algorithm, ok := algorithms[args[0]]
	if !ok {
		return d.Errf("unknown algorithm '%s': it is %s", args[0], strings.Join(slices.Sorted(maps.Keys(algorithms)), ", "))
	}
	p.Algorithm = algorithm
	return nil
}

func parseSignatureHeader(p *scheme.Proof, d *caddyfile.Dispenser, args []string) error {
	if !httpguts.ValidHeaderFieldName(args[0]) {
		return d.Errf("'%s' is no name of a header", args[0])
	}
	return placed(func(s *scheme.Signature) *string { return &s.Header })(p, d, args)
}

func parseSignatureHeaders(p *scheme.Proof, d *caddyfile.Dispenser, args []string) error {
	for _, name := range args {
		if !httpguts.ValidHeaderFieldName(name) {
			return d.Errf("'%s' is no name of a header", name)
		}
	}
	p.Signature.Header, p.Signature.More = args[0], args[1:]
	return nil
}

// formats are the formats of signatures and what stands behind the word.
var formats = map[scheme.Format]func(s *scheme.Signature) *string{
	scheme.Plain:      nil,
	scheme.List:       nil,
	scheme.Pairs:      nil,
	scheme.KeyValue:   func(s *scheme.Signature) *string { return &s.Tag },
	scheme.Tagged:     func(s *scheme.Signature) *string { return &s.Tag },
	scheme.Base64JSON: func(s *scheme.Signature) *string { return &s.Tag },
	scheme.Positional: func(s *scheme.Signature) *string { return &s.Field },
	scheme.Detached:   func(s *scheme.Signature) *string { return &s.Field },
}

func parseFormat(p *scheme.Proof, d *caddyfile.Dispenser, args []string) error {
	format := scheme.Format(args[0])
	name, ok := formats[format]
	if !ok {
		all := make([]string, 0, len(formats))
		for known := range formats {
			all = append(all, string(known))
		}
		slices.Sort(all)
		return d.Errf("unknown format '%s': it is %s", format, strings.Join(all, ", "))
	}
	p.Signature.Format, args = format, args[1:]
	if name != nil {
		if len(args) == 0 {
			return d.Errf("format %s needs the name of what it holds", format)
		}
		*name(&p.Signature), args = args[0], args[1:]
	}
	if len(args) > 0 {
		p.Signature.Separator, args = args[0], args[1:]
	}
	if len(args) > 0 {
		return d.Errf("format %s has too many values", format)
	}
	return nil
}

func parseEncoding(p *scheme.Proof, _ *caddyfile.Dispenser, args []string) error {
	p.Signature.Encoding = scheme.Encoding(args[0])
	return nil
}

func parseKeyForm(p *scheme.Proof, _ *caddyfile.Dispenser, args []string) error {
	p.Key = scheme.KeyForm(args[0])
	return nil
}

func parseKeyID(p *scheme.Proof, _ *caddyfile.Dispenser, args []string) error {
	p.KeyID = args[0]
	return nil
}

func parseKeyURL(p *scheme.Proof, _ *caddyfile.Dispenser, args []string) error {
	p.KeyURL = &scheme.KeyURL{Value: args[0], Pattern: args[1]}
	return nil
}

func parseKeyService(p *scheme.Proof, d *caddyfile.Dispenser, args []string) error {
	p.KeyService = &scheme.KeyService{URL: args[0]}
	if len(args) > 1 {
		if known := scheme.Protocols(); !slices.Contains(known, args[1]) {
			return d.Errf("unknown protocol '%s' of key_service: it is %s", args[1], strings.Join(known, ", "))
		}
		p.KeyService.Protocol = args[1]
	}
	return nil
}

func parsePayload(p *scheme.Proof, _ *caddyfile.Dispenser, args []string) error {
	p.Message = args[0]
	return nil
}

func parseCanonical(p *scheme.Proof, d *caddyfile.Dispenser, args []string) error {
	if known := scheme.CanonicalForms(); !slices.Contains(known, args[0]) {
		return d.Errf("unknown canonical form '%s': it is %s", args[0], strings.Join(known, ", "))
	}
	p.Canonical = args[0]
	return nil
}

func parseTimestamp(p *scheme.Proof, d *caddyfile.Dispenser, args []string) error {
	t := &scheme.Timestamp{Value: args[0]}
	for _, arg := range args[1:] {
		switch unit := scheme.Unit(arg); unit {
		case scheme.Seconds, scheme.Milliseconds, scheme.RFC3339, scheme.ISOUTC:
			t.Unit = unit
			continue
		}
		switch arg {
		case "no_future":
			t.NoFuture = true
		case "off":
			t.Tolerance = -1
		default:
			tolerance, err := duration(d, arg)
			if err != nil {
				return err
			}
			t.Tolerance = scheme.Duration(tolerance)
		}
	}
	p.Timestamp = t
	return nil
}

func parseRequire(p *scheme.Proof, _ *caddyfile.Dispenser, args []string) error {
	if p.Require == nil {
		p.Require = make(map[string]string)
	}
	p.Require[args[0]] = args[1]
	return nil
}

func parseJWT(p *scheme.Proof, d *caddyfile.Dispenser, args []string) error {
	j := &scheme.JWT{Algorithms: args}
	texts := map[string]*string{"issuer": &j.Issuer, "body_hash": &j.BodyHash, "url_hash": &j.URLHash, "query_hash": &j.QueryHash}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if err := once(d, seen, word, nil); err != nil {
			return err
		}
		switch into, ok := texts[word]; {
		case ok:
			if !d.AllArgs(into) {
				return d.ArgErr()
			}
		case word == "key_ids":
			j.KeyIDs = true
		case word == "claims":
			if j.Claims = d.RemainingArgs(); len(j.Claims) == 0 {
				return d.ArgErr()
			}
		case word == "max_age":
			age, err := parseDuration(d)
			if err != nil {
				return err
			}
			j.MaxAge = scheme.Duration(age)
		default:
			return unknownWord(d, "jwt", append(slices.Collect(maps.Keys(texts)), "key_ids", "claims", "max_age"))
		}
	}
	p.JWT = j
	return nil
}

// eventWord is a word that describes what the sender's events are.
type eventWord struct {
	least, most int
	parse       func(s *scheme.Scheme, d *caddyfile.Dispenser, args []string) error
}

var eventWords = map[string]eventWord{
	"name":          {1, 1, parseSchemeName},
	"sealed":        {1, 1, parseSealed},
	"event_id":      {1, many, listed(func(s *scheme.Scheme) *[]string { return &s.EventID })},
	"type":          {1, many, listed(func(s *scheme.Scheme) *[]string { return &s.Type })},
	"identity":      {1, many, parseIdentity},
	"response":      {1, 3, parseResponse},
	"reject_status": {1, 1, parseSchemeReject},
	"max_size":      {1, 1, parseSchemeSize},
	"methods":       {1, many, parseSchemeMethods},
	"retries":       {1, 1, parseRetries},
}

// listed is a word that takes templates.
func listed(field func(*scheme.Scheme) *[]string) func(*scheme.Scheme, *caddyfile.Dispenser, []string) error {
	return func(s *scheme.Scheme, _ *caddyfile.Dispenser, args []string) error {
		*field(s) = args
		return nil
	}
}

func parseSchemeName(s *scheme.Scheme, d *caddyfile.Dispenser, args []string) error {
	if err := checkName(args[0]); err != nil {
		return d.WrapErr(err)
	}
	if preset, ok := scheme.Preset(args[0]); ok {
		return d.Errf("'%s' is the name of a preset; give your own scheme another", preset.Name)
	}
	s.Name = args[0]
	return nil
}

func parseSealed(s *scheme.Scheme, _ *caddyfile.Dispenser, args []string) error {
	s.Sealed = args[0]
	return nil
}

func parseIdentity(s *scheme.Scheme, _ *caddyfile.Dispenser, args []string) error {
	for _, arg := range args {
		switch arg {
		case bodyKey:
			s.IdentityBody = true
		case "alone":
			s.IdentityAlone = true
		default:
			s.Identity = append(s.Identity, arg)
		}
	}
	return nil
}

func parseResponse(s *scheme.Scheme, d *caddyfile.Dispenser, args []string) error {
	status, err := strconv.Atoi(args[0])
	if err != nil {
		return d.Errf("response: '%s' is no status: write it as in response 202", args[0])
	}
	answer := &scheme.Response{Status: status}
	if len(args) > 1 {
		answer.Body = args[1]
	}
	if len(args) > 2 {
		answer.ContentType = args[2]
	}
	if err := (&Respond{Status: status, Body: answer.Body}).check(); err != nil {
		return d.WrapErr(err)
	}
	s.Response = answer
	return nil
}

func parseSchemeReject(s *scheme.Scheme, d *caddyfile.Dispenser, args []string) (err error) {
	s.RejectStatus, err = rejectStatus(d, args[0])
	return err
}

func parseSchemeSize(s *scheme.Scheme, d *caddyfile.Dispenser, args []string) (err error) {
	s.MaxBody, err = size(d, args[0])
	return err
}

func parseSchemeMethods(s *scheme.Scheme, d *caddyfile.Dispenser, args []string) (err error) {
	s.Methods, err = httpMethods(d, args)
	s.Methods = slices.DeleteFunc(s.Methods, func(m string) bool { return m == http.MethodPost })
	return err
}

func parseRetries(s *scheme.Scheme, d *caddyfile.Dispenser, args []string) error {
	switch args[0] {
	case "yes":
		s.NoRetries = false
	case "no":
		s.NoRetries = true
	default:
		return d.Errf("retries is yes or no, not '%s'", args[0])
	}
	return nil
}

// secretWords are the words for what every scheme is bound to.
var secretWords = []string{"secret", "token", "keys", "tolerance", "expect_secret", "overlap"}

// parse reads the option at the current token if it is one of secretWords.
func (s *Secrets) parse(d *caddyfile.Dispenser) (handled bool, err error) {
	switch d.Val() {
	case "secret":
		err = s.parseSecret(d)
	case "token":
		if !d.AllArgs(&s.Token) || s.Token == "" {
			err = d.Err("token takes one value, written as a secret is")
		}
	case "keys":
		err = s.parseKeys(d)
	case "tolerance":
		s.Tolerance, err = parseDuration(d)
	case "expect_secret":
		if s.Expected = d.RemainingArgs(); len(s.Expected) == 0 {
			s.Expected = []string{defaultExpected}
		}
	case "overlap":
		s.Overlap, err = parseOverlap(d)
	default:
		return false, nil
	}
	return true, err
}

// parseKeys reads keys, as secrets or as the paths of files.
func (s *Secrets) parseKeys(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("keys takes files with keys or certificates in PEM, as in keys /etc/caddy/provider.pem")
	}
	for _, arg := range args {
		if inline(arg) && !strings.HasPrefix(arg, "-----BEGIN") {
			arg = "{file." + arg + "}"
		}
		s.Keys = append(s.Keys, arg)
	}
	return nil
}

func parseOverlap(d *caddyfile.Dispenser) (caddy.Duration, error) {
	var text string
	if !d.AllArgs(&text) {
		return 0, d.Err("overlap takes one duration or off")
	}
	if text == "off" {
		return -1, nil
	}
	return duration(d, text)
}
