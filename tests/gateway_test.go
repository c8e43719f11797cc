// SPDX-License-Identifier: Apache-2.0

package tests

import "testing"

// gateway is a relay, /stripe, with its upstream and a provider.
type gateway struct {
	s     *server
	u     *upstream
	p     *provider
	addr  string
	lines []string
}

// newGateway makes a gateway that has not been started. Lines go into the block of its relay.
func newGateway(t *testing.T, lines ...string) *gateway {
	t.Helper()
	g := &gateway{s: newServer(t), u: newUpstream(t), addr: freeAddress(t), lines: lines}
	g.p = newProvider(t, "http://"+g.addr+"/stripe")
	return g
}

// startGateway makes a gateway and starts it.
func startGateway(t *testing.T, lines ...string) *gateway {
	t.Helper()
	g := newGateway(t, lines...)
	g.run()
	return g
}

// config returns the configuration of the gateway.
func (g *gateway) config() string { return g.s.caddyfile(stripeSite(g.addr, g.u, g.lines...)) }

// run starts the gateway and waits until it takes webhooks.
func (g *gateway) run() {
	g.s.t.Helper()
	g.s.run(g.config(), g.addr)
}
