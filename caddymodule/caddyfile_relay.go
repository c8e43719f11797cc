// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"
	"golang.org/x/net/http/httpguts"
)

// parseDirective sets up a relay from Caddyfile tokens. Syntax:
//
//	relay [<matcher>] [<upstreams...>] {
//	    name          <name>
//	    methods       <methods...>
//	    verify        <scheme> [<secrets...>] [{ ... }]
//	    dedupe        <keys...> [<window>] [{ on_duplicate drop|deliver  required }] | off
//	    events        <patterns...>
//	    max_size      <size>
//	    max_backlog   <size>
//	    public_url    <url>
//	    respond       <status> [<body>]
//	    reject_status <status>
//	    drop_header   <fields...>
//
//	    timeout       <duration>
//	    retry         exponential [<first> [<longest gap> [<give up after>]]]
//	                  | fixed <gap> [<give up after>] | schedule <gaps...> | off
//	                  [{ attempts <n>  on <statuses...>  never <statuses...> }]
//	    max_in_flight <n>
//	    rate_limit    <events> <window> | off
//	    order_by      <key> [{ on_dead release|hold }] | off
//	    resign        <scheme> <secrets...> [{ ... }] | off
//
//	    forward       <upstreams...> | { <directives...> }
//	    pass
//	    wait          <duration>
//	    destination   <name> { events ...  timeout ...  retry ...  max_in_flight ...  rate_limit ...  order_by ...  resign ...  forward ... }
//	}
//
// Upstreams are those of reverse_proxy, and may have a path, which then replaces
// that of the request. Their proxy keeps up to 512 idle connections per host
// instead of Caddy's 32; write forward { reverse_proxy ... } for anything else.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	if _, nested := h.BlockState[forwardState]; nested {
		return nil, h.WrapErr(errNested)
	}
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next() // the directive's name again
	p := &relayParser{
		Helper: h,
		relay:  &Handler{Name: nameFromMatcher(matcher), Origin: place(h.Dispenser)},
		seen:   make(map[string]bool),
	}
	whole := *h.Dispenser
	if err := p.parse(); err != nil {
		return nil, withoutMisplaced(err, &whole)
	}
	return h.NewRoute(matcher, p.relay), nil
}

// place says where the current token is, as Caddy's errors say it.
func place(d *caddyfile.Dispenser) string {
	return strings.TrimPrefix(d.Err("").Error(), ", at ")
}

// relayParser reads one relay block.
type relayParser struct {
	httpcaddyfile.Helper
	relay     *Handler
	upstreams []string
	seen      map[string]bool
}

// relayOptions are the words of a relay block that are not part of a policy.
var relayOptions = map[string]func(*relayParser) error{
	"name":          (*relayParser).parseName,
	"methods":       (*relayParser).parseMethods,
	"verify":        (*relayParser).parseVerify,
	"dedupe":        (*relayParser).parseDedupe,
	"events":        (*relayParser).parseEvents,
	"max_size":      (*relayParser).parseMaxSize,
	"max_backlog":   (*relayParser).parseMaxBacklog,
	"public_url":    (*relayParser).parsePublicURL,
	"respond":       (*relayParser).parseRespond,
	"reject_status": (*relayParser).parseRejectStatus,
	"drop_header":   (*relayParser).parseDropHeader,
	"forward":       (*relayParser).parseForward,
	"destination":   (*relayParser).parseDestination,
	"pass":          (*relayParser).parsePass,
	"wait":          (*relayParser).parseWait,
}

// listOptions are the words that may be repeated: they add to a list.
var listOptions = []string{"methods", "verify", "events", "drop_header", "destination"}

func (p *relayParser) parse() error {
	p.upstreams = p.RemainingArgs()
	if len(p.upstreams) > 0 {
		routes, err := upstreamRoutes(p.Dispenser, p.upstreams)
		if err != nil {
			return err
		}
		p.relay.Forward = routes
	}
	if err := checkName(p.relay.Name); err != nil && !p.givesName() {
		return p.Errf("%v; give it another with name", err)
	}
	origin := *p.Dispenser
	for p.NextBlock(0) {
		if err := p.parseOption(); err != nil {
			return err
		}
	}
	if err := cmp.Or(p.relay.checkPass(p.upstreams), p.relay.checkWait()); err != nil {
		return origin.WrapErr(err)
	}
	if len(p.relay.Forward) == 0 && len(p.relay.Destinations) == 0 && !p.relay.Pass {
		return origin.WrapErr(errNowhere)
	}
	return nil
}

// givesName reports whether the block names its relay, so that the default does
// not matter.
func (p *relayParser) givesName() bool {
	ahead := *p.Dispenser
	for ahead.NextBlock(0) {
		if ahead.Val() == "name" {
			return true
		}
	}
	return false
}

// parseOption reads the option at the current token.
func (p *relayParser) parseOption() error {
	word := p.Val()
	if err := once(p.Dispenser, p.seen, word, listOptions); err != nil {
		return err
	}
	if parse, ok := relayOptions[word]; ok {
		return parse(p)
	}
	if handled, err := p.relay.parse(p.Dispenser); handled || err != nil {
		return err
	}
	return unknownOption(p.Dispenser, "relay", slices.Sorted(maps.Keys(relayOptions)), p.upstreams)
}

// once refuses the second time that a word with one value is given.
func once(d *caddyfile.Dispenser, seen map[string]bool, word string, lists []string) error {
	if seen[word] && !slices.Contains(lists, word) {
		return d.Errf("%s is given twice", word)
	}
	seen[word] = true
	return nil
}

func (p *relayParser) parseName() error {
	if !p.AllArgs(&p.relay.Name) {
		return p.ArgErr()
	}
	if err := checkName(p.relay.Name); err != nil {
		return p.WrapErr(err)
	}
	return nil
}

func (p *relayParser) parseMethods() error {
	args := p.RemainingArgs()
	if len(args) == 0 {
		return p.ArgErr()
	}
	methods, err := httpMethods(p.Dispenser, args)
	p.relay.Methods = append(p.relay.Methods, methods...)
	return err
}

// httpMethods reads texts as HTTP methods.
func httpMethods(d *caddyfile.Dispenser, args []string) ([]string, error) {
	var methods []string
	for _, method := range args {
		method = strings.ToUpper(method)
		if !httpguts.ValidHeaderFieldName(method) {
			return nil, d.Errf("'%s' is no HTTP method", method)
		}
		methods = append(methods, method)
	}
	return methods, nil
}

func (p *relayParser) parseEvents() error {
	list, err := parsePatterns(p.Dispenser)
	p.relay.Events = append(p.relay.Events, list...)
	return err
}

// parsePatterns reads the patterns of an events option.
func parsePatterns(d *caddyfile.Dispenser) ([]string, error) {
	list := d.RemainingArgs()
	if len(list) == 0 {
		return nil, d.ArgErr()
	}
	if err := checkPatterns(list); err != nil {
		return nil, d.WrapErr(err)
	}
	return list, nil
}

func (p *relayParser) parseMaxSize() error {
	size, err := parseSize(p.Dispenser)
	p.relay.MaxSize = size
	return err
}

func (p *relayParser) parseMaxBacklog() error {
	size, err := parseSize(p.Dispenser)
	p.relay.MaxBacklog = size
	return err
}

// parseSize reads the one argument of an option as a size in bytes.
func parseSize(d *caddyfile.Dispenser) (int64, error) {
	var text string
	if word := d.Val(); !d.AllArgs(&text) {
		return 0, d.Errf("%s takes one size, as in %s 1MiB", word, word)
	}
	return size(d, text)
}

// size reads a text as a size in bytes, over 0.
func size(d *caddyfile.Dispenser, text string) (int64, error) {
	size, err := humanize.ParseBytes(text)
	if err != nil || size == 0 || size > 1<<50 {
		return 0, d.Errf("'%s' is no size: write it as in 1MiB", text)
	}
	return int64(size), nil
}

// parseDuration reads the one argument of an option as a duration over 0.
func parseDuration(d *caddyfile.Dispenser) (caddy.Duration, error) {
	var text string
	if word := d.Val(); !d.AllArgs(&text) {
		return 0, d.Errf("%s takes one duration, as in %s 30s", word, word)
	}
	return duration(d, text)
}

// duration reads a text as a duration over 0.
func duration(d *caddyfile.Dispenser, text string) (caddy.Duration, error) {
	parsed, err := caddy.ParseDuration(text)
	if err != nil || parsed <= 0 {
		return 0, d.Errf("'%s' is no duration: write it as in 30s or 7d", text)
	}
	return caddy.Duration(parsed), nil
}

func (p *relayParser) parseRespond() error {
	args := p.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return p.ArgErr()
	}
	status, err := strconv.Atoi(args[0])
	if err != nil {
		return p.Errf("respond: '%s' is no status: write it as in respond 202", args[0])
	}
	p.relay.Respond = &Respond{Status: status}
	if len(args) == 2 {
		p.relay.Respond.Body = args[1]
	}
	if err := p.relay.Respond.check(); err != nil {
		return p.WrapErr(err)
	}
	return nil
}

func (p *relayParser) parseRejectStatus() error {
	var text string
	if !p.AllArgs(&text) {
		return p.ArgErr()
	}
	status, err := rejectStatus(p.Dispenser, text)
	p.relay.RejectStatus = status
	return err
}

// rejectStatus reads a text as the status of a refusal.
func rejectStatus(d *caddyfile.Dispenser, text string) (int, error) {
	status, err := strconv.Atoi(text)
	if err != nil || status < 400 || status > 499 {
		return 0, d.Errf("reject_status: '%s' is no 4xx, so a sender would not take it for a refusal", text)
	}
	return status, nil
}

func (p *relayParser) parsePublicURL() error {
	if !p.AllArgs(&p.relay.PublicURL) {
		return p.Err("public_url takes one URL, as in public_url https://hooks.example.com")
	}
	if placeholder.MatchString(p.relay.PublicURL) {
		return nil
	}
	if _, err := publicURL(p.relay.PublicURL); err != nil {
		return p.WrapErr(err)
	}
	return nil
}

func (p *relayParser) parseDropHeader() error {
	args := p.RemainingArgs()
	if len(args) == 0 {
		return p.ArgErr()
	}
	for _, field := range args {
		if !httpguts.ValidHeaderFieldName(field) {
			return p.Errf("'%s' is no name of a header", field)
		}
		p.relay.DropHeader = append(p.relay.DropHeader, http.CanonicalHeaderKey(field))
	}
	return nil
}

func (p *relayParser) parsePass() error {
	if p.NextArg() || p.NextBlock(p.Nesting()) {
		return p.Err("pass has nothing to set")
	}
	p.relay.Pass = true
	return nil
}

func (p *relayParser) parseWait() error {
	time, err := parseDuration(p.Dispenser)
	p.relay.Wait = time
	return err
}
