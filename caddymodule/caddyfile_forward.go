// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"maps"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// forwardState marks what is inside of a forward, for relays that are nested.
const forwardState = "relay.forward"

// parseForward reads the forward of the relay itself.
func (p *relayParser) parseForward() error {
	if len(p.upstreams) > 0 || len(p.relay.Destinations) > 0 {
		return p.WrapErr(errTwoWays)
	}
	routes, err := forwardRoutes(p.Helper)
	p.relay.Forward = routes
	return err
}

// forwardRoutes reads a forward: upstreams, or a block of directives.
func forwardRoutes(h httpcaddyfile.Helper) (caddyhttp.RouteList, error) {
	segment := h.WithDispenser(h.NewFromNextSegment())
	segment.Next() // the word forward
	upstreams := segment.RemainingArgs()
	if len(upstreams) > 0 {
		routes, err := upstreamRoutes(segment.Dispenser, upstreams)
		if err == nil && segment.NextBlock(0) {
			err = segment.Errf("forward takes upstreams or a block. Options of reverse_proxy go inside forward { reverse_proxy %s { ... } }", strings.Join(upstreams, " "))
		}
		return routes, err
	}
	segment.Reset()
	segment.BlockState = maps.Clone(segment.BlockState)
	if segment.BlockState == nil {
		segment.BlockState = make(map[string]any)
	}
	segment.BlockState[forwardState] = true
	handler, err := httpcaddyfile.ParseSegmentAsSubroute(segment)
	if err != nil {
		return nil, err
	}
	subroute, ok := handler.(*caddyhttp.Subroute)
	if !ok || len(subroute.Routes) == 0 {
		return nil, segment.Err("forward leads nowhere: give it upstreams (forward localhost:3000) or a block with directives")
	}
	return subroute.Routes, nil
}

// parseDestination reads a destination block.
func (p *relayParser) parseDestination() error {
	if len(p.relay.Forward) > 0 {
		return p.WrapErr(errTwoWays)
	}
	d := new(Destination)
	if !p.AllArgs(&d.Name) {
		return p.Err("destination takes one name and a block: destination billing { forward localhost:3000 }")
	}
	if err := checkName(d.Name); err != nil {
		return p.Errf("destination: %w", err)
	}
	for _, other := range p.relay.Destinations {
		if other.Name == d.Name {
			return p.Errf("two destinations are named '%s'", d.Name)
		}
	}
	head := *p.Dispenser
	seen := make(map[string]bool)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		if err := once(p.Dispenser, seen, p.Val(), []string{"events"}); err != nil {
			return err
		}
		if err := p.parseDestinationOption(d); err != nil {
			return err
		}
	}
	if len(d.Handle) == 0 {
		return head.Errf("destination %s leads nowhere: give it forward <upstreams...>", d.Name)
	}
	p.relay.Destinations = append(p.relay.Destinations, d)
	return nil
}

// parseDestinationOption reads one line of the block of a destination.
func (p *relayParser) parseDestinationOption(d *Destination) (err error) {
	switch p.Val() {
	case "events":
		var list []string
		list, err = parsePatterns(p.Dispenser)
		d.Events = append(d.Events, list...)
		return err
	case "forward":
		d.Handle, err = forwardRoutes(p.Helper)
		return err
	}
	if handled, err := d.parse(p.Dispenser); handled || err != nil {
		return err
	}
	return unknownOption(p.Dispenser, "destination", []string{"events", "forward"}, nil)
}

// proxyOptions are the options of reverse_proxy, or what they begin with.
var proxyOptions = []string{
	"to", "dynamic", "lb_", "health_", "fail_duration", "max_fails", "unhealthy_",
	"flush_interval", "request_buffers", "response_buffers", "stream_", "verbose_logs",
	"proxy_status_name", "trusted_proxies", "header_up", "header_down", "method", "rewrite",
	"transport", "replace_status", "handle_response",
}

// isProxyOption reports whether a word is an option of reverse_proxy.
func isProxyOption(word string) bool {
	for _, option := range proxyOptions {
		if word == option || strings.HasSuffix(option, "_") && strings.HasPrefix(word, option) {
			return true
		}
	}
	return false
}

// unknownOption is the error for a word that a block does not have. known are
// those that it has beside a policy's.
func unknownOption(d *caddyfile.Dispenser, block string, known, upstreams []string) error {
	word := d.Val()
	if !isProxyOption(word) {
		return d.Errf("unknown option '%s' of %s: it has %s", word, block, strings.Join(append(known, policyOptions...), ", "))
	}
	to := "<upstreams...>"
	if len(upstreams) > 0 {
		to = strings.Join(upstreams, " ")
	}
	head := *d
	line := append([]string{word}, d.RemainingArgs()...)
	if d.NextBlock(d.Nesting()) {
		line = append(line, "{ ... }")
	}
	return head.Errf("unknown option '%s'. Options of reverse_proxy go inside forward { reverse_proxy %s { %s } }", word, to, strings.Join(line, " "))
}
