// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// idleConnections is how many idle connections per host the proxy of a shorthand
// keeps. Caddy's own 32 are too few for a relay: an attempt beyond them would
// have to open a connection of its own.
const idleConnections = 512

// upstreamRoutes builds what upstreams alone stand for: a reverse_proxy, and a
// rewrite before it where they have a path.
func upstreamRoutes(d *caddyfile.Dispenser, upstreams []string) (caddyhttp.RouteList, error) {
	addresses := make([]string, len(upstreams))
	var uri string
	for i, upstream := range upstreams {
		address, path := splitUpstream(upstream)
		if strings.Contains(address, "://") && strings.Contains(address, "@") {
			return nil, d.Err("an upstream has no user and password in its URL. Send them as a header: forward { reverse_proxy <upstream> { header_up Authorization ... } }")
		}
		if i > 0 && path != uri {
			return nil, d.Errf("all upstreams must have the same path; '%s' differs. Put each into a destination of its own", upstream)
		}
		addresses[i], uri = address, path
	}
	if first := addresses[0]; !strings.ContainsAny(first, ":./{") && slices.ContainsFunc(addresses, func(a string) bool { return strings.Contains(a, ":") }) {
		return nil, d.Errf("'%s' would be an upstream without a port. A path begins with a slash: /%[1]s; an upstream on port 80 is written %[1]s:80", first)
	}
	token := d.Token()
	tokens := []caddyfile.Token{{File: token.File, Line: token.Line, Text: "reverse_proxy"}}
	for _, address := range addresses {
		tokens = append(tokens, caddyfile.Token{File: token.File, Line: token.Line, Text: address})
	}
	proxy := new(reverseproxy.Handler)
	if err := proxy.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
		return nil, err
	}
	if err := raiseIdleConnections(proxy); err != nil {
		return nil, d.WrapErr(err)
	}
	var handlers []json.RawMessage
	if uri != "" {
		handlers = append(handlers, caddyconfig.JSONModuleObject(rewrite.Rewrite{URI: uri}, "handler", "rewrite", nil))
	}
	handlers = append(handlers, caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil))
	return caddyhttp.RouteList{{HandlersRaw: handlers}}, nil
}

// raiseIdleConnections sets how many idle connections a proxy keeps.
func raiseIdleConnections(proxy *reverseproxy.Handler) error {
	transport := new(reverseproxy.HTTPTransport)
	if proxy.TransportRaw != nil {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(proxy.TransportRaw, &fields); err != nil {
			return err
		}
		delete(fields, "protocol")
		plain, err := json.Marshal(fields)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(plain, transport); err != nil {
			return err
		}
	}
	transport.KeepAlive = &reverseproxy.KeepAlive{MaxIdleConnsPerHost: idleConnections}
	proxy.TransportRaw = caddyconfig.JSONModuleObject(transport, "protocol", "http", nil)
	return nil
}

// networks begin an address that is written with its network.
var networks = []string{"tcp", "tcp4", "tcp6", "unix", "unix+h2c", "fd", "fdgram"}

// splitUpstream divides an upstream into what reverse_proxy takes and the path
// and query behind it.
func splitUpstream(upstream string) (address, uri string) {
	start := 0
	if i := strings.Index(upstream, "://"); i >= 0 {
		start = i + len("://")
	} else if network, _, ok := strings.Cut(upstream, "/"); ok && slices.Contains(networks, network) {
		return upstream, ""
	}
	// A placeholder may hold slashes of its own.
	if i := strings.LastIndexByte(upstream, '}'); i > start {
		start = i
	}
	slash := strings.IndexByte(upstream[start:], '/')
	if slash < 0 {
		return upstream, ""
	}
	address, uri = upstream[:start+slash], upstream[start+slash:]
	if uri == "/" {
		uri = ""
	}
	return address, uri
}
