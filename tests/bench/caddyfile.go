// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// kind is one server configuration under test.
type kind string

const (
	kindRespond  kind = "respond"       // plain Caddy, answers by itself
	kindProxy    kind = "reverse_proxy" // plain Caddy, synchronous to the sink
	kindAccept   kind = "accept"        // relay, upstream down
	kindEndToEnd kind = "end_to_end"    // relay, delivers to the sink
)

// delivers tells whether events reach the sink.
func (k kind) delivers() bool { return k == kindProxy || k == kindEndToEnd }

// upstreamConfig is how the server reaches the upstream.
type upstreamConfig struct {
	addr     string
	defaults bool // as a user gets it, no option written
	idle     int  // keepalive_idle_conns_per_host otherwise
}

// eventPath is where all events are sent. Every site matches it, so that none pays for that alone.
const eventPath = "/stripe"

// proxy is the rest of a reverse_proxy directive, behind its name and its matcher: plain Caddy's, and that of the relay's
// forward block, where the relay has the matcher.
func (u upstreamConfig) proxy() string {
	if u.defaults {
		return u.addr
	}
	return fmt.Sprintf(`%s {
	transport http {
		keepalive_idle_conns_per_host %d
	}
}`, u.addr, u.idle)
}

// caddyfile returns a function from the server's address to its Caddyfile. Policy lines go into the relay block.
func caddyfile(k kind, dir string, upstream upstreamConfig, policy ...string) func(addr string) string {
	global := []string{"admin off", "auto_https off", "persist_config off"}
	var site string
	switch k {
	case kindRespond:
		site = "respond " + eventPath + " 200"
	case kindProxy:
		site = "reverse_proxy " + eventPath + " " + upstream.proxy()
	default:
		global = append(global, "relay {\n"+indent("store pebble "+filepath.Join(dir, "store"))+"\n}")
		site = relayDirective(upstream, policy)
	}
	return func(addr string) string {
		return "{\n" + indent(strings.Join(global, "\n")) + "\n}\n" +
			"http://" + addr + " {\n" + indent("bind 127.0.0.1\n"+site) + "\n}\n"
	}
}

func relayDirective(upstream upstreamConfig, policy []string) string {
	lines := append([]string{"verify stripe " + signingSecret}, policy...)
	head := "relay " + eventPath
	if upstream.defaults {
		head += " " + upstream.addr
	} else {
		lines = append(lines, "forward {\n"+indent("reverse_proxy "+upstream.proxy())+"\n}")
	}
	return head + " {\n" + indent(strings.Join(lines, "\n")) + "\n}"
}

func indent(block string) string {
	return "\t" + strings.ReplaceAll(block, "\n", "\n\t")
}
