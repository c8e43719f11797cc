// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
)

// site is what Caddy serves under some hosts, or all of a server that knows no
// hosts.
type site struct {
	name   string
	routes caddyhttp.RouteList
}

// warnSites looks at the sites that have relays for mistakes that let a webhook
// vanish, or reach the app without its relay.
func (a *App) warnSites() {
	module, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return // without sites there is nothing to look at
	}
	servers := module.(*caddyhttp.App).Servers
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		for _, s := range sitesOf(servers[name]) {
			s.warn(a.log)
		}
	}
}

// sitesOf divides the routes of a server into its sites.
func sitesOf(server *caddyhttp.Server) []site {
	var sites []site
	rest := site{name: strings.Join(server.Listen, " ")}
	for _, route := range server.Routes {
		hosts := matched[caddyhttp.MatchHost](route)
		if len(hosts) > 0 && len(route.Handlers) == 1 {
			if sub, ok := route.Handlers[0].(*caddyhttp.Subroute); ok {
				sites = append(sites, site{strings.Join(hosts, " "), sub.Routes})
				continue
			}
		}
		rest.routes = append(rest.routes, route)
	}
	return append(sites, rest)
}

// warn writes the warnings of one site.
func (s site) warn(log *zap.Logger) {
	log = log.With(zap.String("site", s.name))
	var relays []relayRoute
	walk(s.routes, nil, true, func(route caddyhttp.Route, h caddyhttp.MiddlewareHandler, _ bool) {
		if relay, ok := h.(*Handler); ok {
			relays = append(relays, relayRoute{relay, matched[caddyhttp.MatchPath](route)})
		}
	})
	if len(relays) == 0 {
		return
	}
	warnUnreachable(log, s.routes, "")
	if !catchesAll(s.routes) {
		log.Warn("site has relays but no catch-all: Caddy answers 200 to every other path. End the site with respond 404")
	}
	proxied := dials(s.routes)
	for _, r := range relays {
		if r.canBeWalkedAround(proxied) {
			log.Warn("relay matches one exact path and the site proxies all others to the same app, so what the app takes for the same path (/x/, /x.json) reaches it unverified; match with a star, or give the app a listener of its own",
				zap.String("source", r.handler.Name), zap.String("origin", r.handler.Origin), zap.Strings("path", r.paths))
		}
	}
}

// warnUnreachable warns about relays behind something that answers everything.
// before is what does so ahead of the routes; the result is what does after them.
func warnUnreachable(log *zap.Logger, routes caddyhttp.RouteList, before string) string {
	for _, route := range routes {
		for _, h := range route.Handlers {
			after := before
			switch handler := h.(type) {
			case *caddyhttp.Subroute:
				after = warnUnreachable(log, handler.Routes, before)
			case *Handler:
				if before != "" {
					log.Warn("what runs before relay answers every request, so that no webhook can reach it; put relay before it in a route block",
						zap.String("source", handler.Name), zap.String("origin", handler.Origin), zap.String("before", before))
				}
				if !handler.Pass {
					after = "relay"
				}
			case *caddyhttp.StaticResponse, *caddyhttp.StaticError:
				after = answerName(h)
			}
			if takesAll(route) && before == "" {
				before = after
			}
		}
	}
	return before
}

// answerName is what a user calls a handler that answers everything.
func answerName(h caddyhttp.MiddlewareHandler) string {
	switch handler := h.(type) {
	case *caddyhttp.StaticResponse:
		switch {
		case handler.Abort:
			return "abort"
		case handler.Headers.Get("Location") != "":
			return "redir"
		}
		return "respond"
	default:
		return "error"
	}
}

// relayRoute is a relay with the paths of the route it is in.
type relayRoute struct {
	handler *Handler
	paths   []string
}

// canBeWalkedAround reports whether the relay verifies one exact path of an app
// that all other paths are proxied to as well.
func (r relayRoute) canBeWalkedAround(proxied map[string]bool) bool {
	if len(r.handler.bindings) == 0 || !slices.ContainsFunc(r.paths, func(p string) bool { return !strings.HasSuffix(p, "*") }) {
		return false
	}
	if r.handler.Pass && len(proxied) > 0 {
		return true
	}
	for _, d := range r.handler.destinations {
		for dial := range dials(d.Handle) {
			if proxied[dial] {
				return true
			}
		}
	}
	return false
}

// walk visits the handlers of routes in their order, those inside of others
// included. The route is the innermost one with a matcher. always says that every
// request comes to the handler.
func walk(routes caddyhttp.RouteList, outer *caddyhttp.Route, always bool, visit func(route caddyhttp.Route, h caddyhttp.MiddlewareHandler, always bool)) {
	for _, route := range routes {
		inner := outer
		if outer == nil || !takesAll(route) {
			inner = &route
		}
		for _, h := range route.Handlers {
			if sub, ok := h.(*caddyhttp.Subroute); ok {
				walk(sub.Routes, inner, always && takesAll(route), visit)
				continue
			}
			visit(*inner, h, always && takesAll(route))
		}
	}
}

// takesAll reports whether a route takes every request.
func takesAll(route caddyhttp.Route) bool {
	if len(route.MatcherSets) == 0 {
		return true
	}
	paths := matched[caddyhttp.MatchPath](route)
	return len(route.MatcherSets) == 1 && len(route.MatcherSets[0]) == 1 &&
		(slices.Contains(paths, "*") || slices.Contains(paths, "/*"))
}

// catchesAll reports whether something in the routes answers every request.
func catchesAll(routes caddyhttp.RouteList) bool {
	for _, route := range routes {
		if !takesAll(route) {
			continue
		}
		for _, h := range route.Handlers {
			if sub, ok := h.(*caddyhttp.Subroute); ok {
				if catchesAll(sub.Routes) {
					return true
				}
			} else if answers(h) {
				return true
			}
		}
	}
	return false
}

// passing are the handlers of Caddy that leave the answer to others. A handler
// that is not known is taken for one that answers: no warning rather than a wrong
// one.
var passing = []string{
	"authentication", "copy_response_headers", "encode", "headers", "intercept", "log_append", "map",
	"push", "request_body", "rewrite", "templates", "timeouts", "tracing", "vars",
}

func answers(h caddyhttp.MiddlewareHandler) bool {
	if relay, ok := h.(*Handler); ok && relay.Pass {
		return false
	}
	module, ok := h.(caddy.Module)
	return !ok || !slices.Contains(passing, module.CaddyModule().ID.Name())
}

// dials returns where the proxies in routes that take all requests lead.
func dials(routes caddyhttp.RouteList) map[string]bool {
	found := make(map[string]bool)
	walk(routes, nil, true, func(_ caddyhttp.Route, h caddyhttp.MiddlewareHandler, always bool) {
		proxy, ok := h.(*reverseproxy.Handler)
		if !ok || !always {
			return
		}
		for _, upstream := range proxy.Upstreams {
			found[upstream.Dial] = true
		}
	})
	return found
}

// matched returns what the matchers of one kind in a route match.
func matched[M caddyhttp.MatchHost | caddyhttp.MatchPath](route caddyhttp.Route) []string {
	var values []string
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			if m, ok := matcher.(*M); ok {
				values = append(values, *m...)
			}
		}
	}
	return values
}
