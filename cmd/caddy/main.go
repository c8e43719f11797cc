// SPDX-License-Identifier: Apache-2.0

// Command caddy is Caddy with the relay modules built in. It is Caddy's own
// main with one import more; another Caddy module is added by importing it
// here, or by naming it to xcaddy with --with.
package main

import (
	_ "time/tzdata" // time zones, for a system or an image that has no zone files

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-relay/caddy-relay/caddymodule"
)

func main() {
	caddycmd.Main()
}
