// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// init is the one place where anything is registered with Caddy.
func init() {
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(new(AdminAPI))
	caddy.RegisterModule(new(Handler))
	caddy.RegisterModule(new(PebbleStore))
	caddy.RegisterModule(new(MemoryStore))
	caddy.RegisterModule(new(HMACScheme))
	for _, name := range scheme.Names() {
		caddy.RegisterModule(newPresetScheme(name))
	}
	caddy.RegisterModule(new(Exponential))
	caddy.RegisterModule(new(Fixed))
	caddy.RegisterModule(new(Schedule))
	caddy.RegisterModule(new(Off))

	caddycmd.RegisterCommand(relayCommand)

	httpcaddyfile.RegisterGlobalOption("relay", parseGlobalOption)
	httpcaddyfile.RegisterDirective("relay", parseDirective)
	// Ahead of all that can answer: with any later place a handle block with a
	// proxy in it would let a request reach the app unverified.
	httpcaddyfile.RegisterDirectiveOrder("relay", httpcaddyfile.Before, "invoke")
}
