// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	"go.uber.org/zap"
)

// plainProxy is a forward that is a proxy to one upstream and nothing else.
type plainProxy struct {
	address string // host and port
	maxIdle int    // connections that are kept, 0 for the default
	uri     string // of the rewrite before it, empty where there is none
}

// The configuration of such a forward. What they do not know makes it another.
type (
	plainRoute struct {
		Group    string            `json:"group"`
		Handlers []json.RawMessage `json:"handle"`
	}
	plainSubroute struct {
		Handler string       `json:"handler"`
		Routes  []plainRoute `json:"routes"`
	}
	plainRewrite struct {
		Handler string `json:"handler"`
		URI     string `json:"uri"`
	}
	plainHandler struct {
		Handler   string `json:"handler"`
		Upstreams []struct {
			Dial string `json:"dial"`
		} `json:"upstreams"`
		Transport struct {
			Protocol  string `json:"protocol"`
			KeepAlive struct {
				MaxIdle int `json:"max_idle_conns_per_host"`
			} `json:"keep_alive"`
		} `json:"transport"`
	}
)

// plain reports whether routes that are not provisioned yet are a plain proxy, and
// which. What it says no to runs through Caddy's own handlers, so in doubt it does.
func plain(ctx caddy.Context, routes caddyhttp.RouteList) (*plainProxy, bool) {
	text, err := json.Marshal(routes)
	if err != nil {
		return nil, false
	}
	var list []plainRoute
	if !strictly(text, &list) {
		return nil, false
	}
	handlers, ok := flat(list, make(map[string]bool))
	if !ok || len(handlers) == 0 || len(handlers) > 2 {
		return nil, false
	}
	p := new(plainProxy)
	last := len(handlers) - 1
	if !p.readProxy(handlers[last]) || last > 0 && !p.readRewrite(handlers[0]) {
		return nil, false
	}
	return p, !proxied(p.address) && !debugging(ctx)
}

// flat lists the handlers of routes without matchers in the order in which they
// run, those of subroutes in their place.
func flat(routes []plainRoute, groups map[string]bool) (handlers []json.RawMessage, ok bool) {
	for _, route := range routes {
		if route.Group != "" && groups[route.Group] {
			return nil, false // only the first route of a group runs
		}
		groups[route.Group] = true
		for _, handler := range route.Handlers {
			var sub plainSubroute
			if !strictly(handler, &sub) || sub.Handler != "subroute" {
				handlers = append(handlers, handler)
				continue
			}
			inner, ok := flat(sub.Routes, groups)
			if !ok {
				return nil, false
			}
			handlers = append(handlers, inner...)
		}
	}
	return handlers, true
}

// readProxy reads a reverse_proxy.
func (p *plainProxy) readProxy(text json.RawMessage) bool {
	var h plainHandler
	if !strictly(text, &h) || h.Handler != "reverse_proxy" || len(h.Upstreams) != 1 {
		return false
	}
	if protocol := h.Transport.Protocol; protocol != "" && protocol != "http" || h.Transport.KeepAlive.MaxIdle < 0 {
		return false
	}
	dial := h.Upstreams[0].Dial
	if strings.ContainsAny(dial, "{}") {
		return false
	}
	address, err := caddy.ParseNetworkAddress(dial)
	if err != nil || address.Network != "tcp" || address.PortRangeSize() != 1 || address.Host == "" {
		return false
	}
	p.address, p.maxIdle = address.JoinHostPort(0), h.Transport.KeepAlive.MaxIdle
	return true
}

// readRewrite reads a rewrite to an URI that is written out.
func (p *plainProxy) readRewrite(text json.RawMessage) bool {
	var h plainRewrite
	if !strictly(text, &h) || h.Handler != "rewrite" || !strings.HasPrefix(h.URI, "/") || strings.ContainsAny(h.URI, "{}#") {
		return false
	}
	p.uri = h.URI
	return true
}

// strictly decodes JSON into a value that has a place for everything in it.
func strictly(text []byte, into any) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(into) == nil
}

// proxied reports whether the environment sends requests to an address through a
// proxy.
func proxied(address string) bool {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "http", Host: address}})
	return proxy != nil || err != nil
}

// debugging reports whether Caddy's handlers log what they do.
func debugging(ctx caddy.Context) bool {
	return ctx.Logger(new(reverseproxy.Handler)).Core().Enabled(zap.DebugLevel) ||
		ctx.Logger(new(rewrite.Rewrite)).Core().Enabled(zap.DebugLevel)
}

// traced reports whether a server logs which handlers a request runs through.
func traced(server *caddyhttp.Server) bool { return server.Logs != nil && server.Logs.Trace }
