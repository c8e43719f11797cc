// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// firstRead answers one connection and returns what its first read has brought.
func firstRead(t *testing.T) (addr string, first <-chan []byte) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	read := make(chan []byte, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 64<<10)
		n, _ := conn.Read(buf)
		read <- buf[:n]
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}()
	return listener.Addr().String(), read
}

func TestSmallRequestReachesTheUpstreamInOneWrite(t *testing.T) {
	for name, leads := range map[string]string{
		"as an argument": "%s",
		"in a block":     "{\n\treverse_proxy %s\n}",
		"in a subroute":  "{\n\thandle {\n\t\treverse_proxy %s\n\t}\n}",
	} {
		for _, direct := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, direct %t", name, direct), func(t *testing.T) {
				addr, first := firstRead(t)
				a := attempt()
				a.Message.Request.Body = bytes.Repeat([]byte("x"), 1<<10)
				a.Message.Request.Header.Set("Incremental", "?1")
				f := forwardOf(t, fmt.Sprintf(leads, addr))
				if !direct {
					f.direct = nil
				}
				result := f.Deliver(t.Context(), a)
				if result.Outcome != store.Succeeded {
					t.Fatalf("outcome %s: %v", result.Outcome, result.Err)
				}
				if got := <-first; !bytes.HasSuffix(got, a.Message.Request.Body) {
					t.Errorf("the first read brought the headers alone:\n%s", got)
				}
			})
		}
	}
}
