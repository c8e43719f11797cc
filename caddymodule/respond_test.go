// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// listening is a server whose requests all go to a relay.
func listening(t *testing.T, h *Handler) *httptest.Server {
	t.Helper()
	return httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "Caddy")
		_ = h.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server)), nil)
	}))
}

func TestAnswerWithoutABodySaysSo(t *testing.T) {
	for _, status := range []string{"200", "202"} {
		h, _ := relayBlock(t, newUpstream(t, nil), "memory", "respond "+status)
		server := listening(t, h)
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		resp, err := server.Client().Post(server.URL, "text/plain", strings.NewReader("event"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.Proto != "HTTP/2.0" || resp.Header.Get("Content-Length") != "0" || resp.StatusCode/100 != 2 {
			t.Errorf("the answer is %v", resp)
		}
	}
}

func TestAnswerWithoutABodyKeepsTheConnection(t *testing.T) {
	h, _ := relayBlock(t, newUpstream(t, nil), "memory")
	server := listening(t, h)
	server.Start()
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for i, version := range []string{"HTTP/1.1", "HTTP/1.0", "HTTP/1.1"} {
		_, _ = io.WriteString(conn, "POST /in "+version+"\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nevent")
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK || resp.ContentLength != 0 || resp.Close || len(body) > 0 {
			t.Errorf("request %d: the answer is %v, %q", i, resp, body)
		}
	}
}
