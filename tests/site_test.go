// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// given remembers the ports that were handed out, so that no two servers of the tests get the same one while neither
// listens yet.
var given = struct {
	sync.Mutex
	ports map[int]bool
}{ports: make(map[int]bool)}

// freeAddress returns a loopback address that a server may listen on, close and listen on again. Its port lies below
// the range that systems take the ports of outgoing connections from: one of those would be in the way of a restart.
func freeAddress(t testing.TB) string {
	t.Helper()
	given.Lock()
	defer given.Unlock()
	for range 1000 {
		port := 20_000 + rand.IntN(12_000)
		if given.ports[port] {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		_ = l.Close()
		given.ports[port] = true
		return addr
	}
	t.Fatal("no free port between 20000 and 32000")
	return ""
}

// site returns a site at addr with a block of directives.
func site(addr, block string) string {
	_, port, _ := net.SplitHostPort(addr)
	return "http://:" + port + " {\n\t" + strings.ReplaceAll(strings.TrimSpace(block), "\n", "\n\t") + "\n}\n"
}

// stripeSite is a site at addr with one relay, /stripe, that delivers to the upstream. Lines go into its block.
func stripeSite(addr string, u *upstream, lines ...string) string {
	return site(addr, stripeRelay(u, lines...)+"\nrespond 404")
}

// stripeRelay is the relay of stripeSite.
func stripeRelay(u *upstream, lines ...string) string {
	lines = append([]string{"verify stripe " + secretA}, lines...)
	return "relay /stripe http://" + u.addr + "/webhooks/stripe {\n\t" + strings.Join(lines, "\n\t") + "\n}"
}
