// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/wire"
)

// swallowing returns an address where packets that would open a connection get no
// answer: a socket whose queue is full of connections that nobody takes.
func swallowing(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(socket) })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(socket, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 16 {
		conn, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue of a socket that nobody takes connections from does not fill up")
	return ""
}

// An attempt that its timeout ends has timed out, also where it ends while the
// connection is being opened. One whose connection can not be opened in the time
// of the proxy itself has found nobody.
func TestAttemptOnAnAddressThatSwallowsPackets(t *testing.T) {
	address := swallowing(t)
	const impatient = "{\n\t\treverse_proxy %s {\n\t\t\ttransport http {\n\t\t\t\tdial_timeout 20ms\n\t\t\t}\n\t\t}\n\t}"
	both, brief := pairOf(t, address), pairOf(t, address).direct
	brief.direct.client = wire.New(address, wire.Options{DialTimeout: 20 * time.Millisecond})
	for name, tc := range map[string]struct {
		forward *forward
		timeout time.Duration
		want    store.Outcome
	}{
		"direct":                         {both.direct, 20 * time.Millisecond, store.TimedOut},
		"through handlers":               {both.chain, 20 * time.Millisecond, store.TimedOut},
		"no connection in time, direct":  {brief, time.Minute, store.Unreachable},
		"no connection in time, proxied": {forwardOf(t, fmt.Sprintf(impatient, address)), time.Minute, store.Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				ctx, cancel := context.WithTimeout(context.Background(), tc.timeout)
				result := tc.forward.Deliver(ctx, attempt())
				cancel()
				if result.Outcome != tc.want {
					t.Fatalf("%s %v", result.Outcome, result.Err)
				}
			}
		})
	}
}
