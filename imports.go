// SPDX-License-Identifier: Apache-2.0

// Package caddyrelay registers the caddy-relay modules with Caddy. It exists so
// that the module's own path can be given to Caddy's build tools: xcaddy build
// --with github.com/caddy-relay/caddy-relay.
//
// The code is in two layers: package relay is the engine, a library that knows
// nothing of Caddy, and package caddymodule translates Caddy's configuration
// and requests for it.
package caddyrelay

import (
	_ "github.com/caddy-relay/caddy-relay/caddymodule" // registers the relay app, its handler and their guests
)
