// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"

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

	under   sync.RWMutex // held for reading by each request without an answer yet
	cleaned atomic.Bool
}

// CaddyModule returns the Caddy module information.
func (*lastingTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport." + lastingProtocol,
		New: func() caddy.Module { return new(lastingTransport) },
	}
}

// RoundTrip implements http.RoundTripper.
func (t *lastingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.under.RLock()
	defer func() {
		t.under.RUnlock()
		if t.cleaned.Load() {
			_ = t.letGo()
		}
	}()
	return t.HTTPTransport.RoundTrip(r)
}

// Cleanup closes the connections, or has the last request close them.
func (t *lastingTransport) Cleanup() error {
	t.cleaned.Store(true)
	return t.letGo()
}

// letGo closes the connections unless a request is under way, which does it then.
func (t *lastingTransport) letGo() error {
	if !t.under.TryLock() {
		return nil
	}
	defer t.under.Unlock()
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
