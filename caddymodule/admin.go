// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

// AdminAPI puts the tree under /relay/ on Caddy's admin endpoint, for operators
// and for the caddy relay commands. Whoever reaches that endpoint can load any
// configuration, so nothing more is asked of him; but bodies and credentials are
// shown only with admin_reveal.
type AdminAPI struct {
	api *api
}

// CaddyModule returns the Caddy module information.
func (*AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.relay", New: func() caddy.Module { return new(AdminAPI) }}
}

// Provision makes the tree. The app is looked up anew for each request, since the
// endpoint is there before the apps are.
func (a *AdminAPI) Provision(caddy.Context) error {
	a.api = newAPI(activeApp, adminActor)
	return nil
}

// Routes returns the routes on the admin endpoint.
func (a *AdminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: "/relay/", Handler: caddy.AdminHandlerFunc(a.api.serve)}}
}

// activeApp returns the app of the configuration in force.
func activeApp() (*App, error) {
	module, err := caddy.ActiveContext().AppIfConfigured("relay")
	if err != nil {
		return nil, fmt.Errorf("the configuration that runs has no relay: %w", err)
	}
	app, ok := module.(*App)
	if !ok {
		return nil, fmt.Errorf("the relay app is a %T", module)
	}
	return app, nil
}

// adminActor tells who has sent a request to the admin endpoint: the name of the
// client's certificate where there is one, else its address.
func adminActor(r *http.Request) string {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return r.TLS.PeerCertificates[0].Subject.String() + " " + r.RemoteAddr
	}
	if r.RemoteAddr == "" || r.RemoteAddr == "@" {
		return "unix socket"
	}
	return r.RemoteAddr
}

// Interface guards
var (
	_ caddy.Provisioner = (*AdminAPI)(nil)
	_ caddy.AdminRouter = (*AdminAPI)(nil)
)
