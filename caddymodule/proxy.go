// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"iter"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// wholeRequest is up to what size of its body a request is written to an upstream
// together with its headers.
const wholeRequest = 16 << 10

// writeWhole has the proxies among provisioned routes write small requests whole.
// The transport writes the headers of a request by themselves unless it can see
// that the body is in memory, which it always is here, and a proxy hides that
// from it but for a body that it has buffered itself. So a request that fits one
// write took two, and as many packets. What a configuration says of
// request_buffers stays as it is.
func writeWhole(routes caddyhttp.RouteList) {
	for proxy := range proxies(routes) {
		if proxy.RequestBuffers == 0 {
			proxy.RequestBuffers = wholeRequest
		}
	}
}

// proxies goes through the proxies among provisioned routes.
func proxies(routes caddyhttp.RouteList) iter.Seq[*reverseproxy.Handler] {
	return func(yield func(*reverseproxy.Handler) bool) { eachProxy(routes, yield) }
}

func eachProxy(routes caddyhttp.RouteList, yield func(*reverseproxy.Handler) bool) bool {
	for _, route := range routes {
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *reverseproxy.Handler:
				if !yield(h) {
					return false
				}
			case *caddyhttp.Subroute:
				if !eachProxy(h.Routes, yield) {
					return false
				}
			}
		}
	}
	return true
}
