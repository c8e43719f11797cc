// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() { caddy.RegisterModule(new(lastingTransport)) }

// lastingProtocol is the name of lastingTransport.
const lastingProtocol = "relay_http"

// lastingTransport is Caddy's `http` transport, which in a forward stands in its
// place by itself and need not be written. It only ends another way: when a reload
// replaces its proxy, its connections are closed once no request is waiting for an
// answer.
//
// Caddy closes those that are idle at once, and Go takes a connection for idle a
// moment before it hands on an answer without a body that came on it. The answer is
// lost then, and what the app has taken would be sent again.
type lastingTransport struct {
	reverseproxy.HTTPTransport

	mu      sync.Mutex
	under   int // requests that still need their connection among the idle ones
	cleaned bool
}

// CaddyModule returns the Caddy module information.
func (*lastingTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport." + lastingProtocol,
		New: func() caddy.Module { return new(lastingTransport) },
	}
}

// RoundTrip implements http.RoundTripper. Over HTTP/3 a request is under way until the
// body of its answer is closed: all of them share a connection there.
func (t *lastingTransport) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	t.mu.Lock()
	t.under++
	t.mu.Unlock()
	defer func() {
		if answer != nil && slices.Contains(t.Versions, "3") {
			answer.Body = &lastingBody{answer.Body, sync.OnceFunc(t.answered)}
		} else {
			t.answered()
		}
	}()
	return t.HTTPTransport.RoundTrip(r)
}

// lastingBody is the body of an answer with what is to be done when it is closed.
type lastingBody struct {
	io.ReadCloser
	closed func()
}

// Close implements io.Closer.
func (b *lastingBody) Close() error {
	defer b.closed()
	return b.ReadCloser.Close()
}

// answered notes the end of a request. The last one closes the connections if the
// proxy has been replaced.
func (t *lastingTransport) answered() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.under--; t.under == 0 && t.cleaned {
		_ = t.HTTPTransport.Cleanup() // of what goes on, nothing is idle that is about to be answered
	}
}

// Cleanup closes the connections, or has the last request close them.
func (t *lastingTransport) Cleanup() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cleaned = true; t.under > 0 {
		return nil
	}
	return t.HTTPTransport.Cleanup()
}

// outlast has the proxies among routes that are not provisioned yet use a
// lastingTransport where they would have Caddy's. One whose transport is not
// configured needs none: Caddy does not clean that up.
func outlast(routes caddyhttp.RouteList) {
	for i := range routes {
		for j, raw := range routes[i].HandlersRaw {
			if !bytes.Contains(raw, []byte("reverse_proxy")) {
				continue
			}
			var handler any
			numbers := json.NewDecoder(bytes.NewReader(raw))
			numbers.UseNumber()
			if numbers.Decode(&handler) != nil || !outlastIn(handler) {
				continue // provisioning says what is wrong with it
			}
			if changed, err := json.Marshal(handler); err == nil {
				routes[i].HandlersRaw[j] = changed
			}
		}
	}
}

// outlastIn changes a handler and those within it, and reports whether it has.
func outlastIn(value any) (changed bool) {
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			changed = outlastIn(one) || changed
		}
	case map[string]any:
		if transport, ok := v["transport"].(map[string]any); ok && v["handler"] == "reverse_proxy" && transport["protocol"] == "http" {
			transport["protocol"] = lastingProtocol
			changed = true
		}
		for _, one := range v {
			changed = outlastIn(one) || changed
		}
	}
	return changed
}

// Interface guards
var (
	_ http.RoundTripper                                = (*lastingTransport)(nil)
	_ caddy.Provisioner                                = (*lastingTransport)(nil)
	_ caddy.CleanerUpper                               = (*lastingTransport)(nil)
	_ reverseproxy.TLSTransport                        = (*lastingTransport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*lastingTransport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*lastingTransport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*lastingTransport)(nil)
)
