// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-relay/caddy-relay/relay"
)

// unwanted is a body that nobody may read.
type unwanted struct{ t *testing.T }

func (u unwanted) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, errors.New("not to be read")
}

func (unwanted) Close() error { return nil }

// full starts a relay whose backlog is full.
func full(t *testing.T) *Handler {
	t.Helper()
	h, r := relayOf(t, newUpstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	if w := serve(t, h, signed("/in", `{"id":"evt_waits"}`)); w.Code != http.StatusOK {
		t.Fatalf("answered %d to begin with", w.Code)
	}
	g := *r.app.generation
	g.Backlogs = []relay.BacklogLimit{{Source: h.Name, Max: messageOverhead}}
	r.app.engine.Attach(&g)
	t.Cleanup(func() { r.app.engine.Detach(&g) })
	return h
}

func TestP10_WhatIsNotTakenIsNotRead(t *testing.T) {
	h := full(t)
	request := signed("/in", `{"id":"evt_1"}`)
	request.Body, request.ContentLength = unwanted{t}, 1000
	w := serve(t, h, request)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("Connection") != "close" {
		t.Errorf("answered %d with %v", w.Code, w.Header())
	}
	if got := counted(metrics.rejected.WithLabelValues(h.Name, "backlog")); got < 1 {
		t.Errorf("%v refusals are counted", got)
	}
	if w := serve(t, h, signed("/in", `{"id":"evt_1"}`)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("answered %d", w.Code)
	}
}

// A sender that is refused keeps its connection where its body is small and there.
func TestP10_RefusalOfASmallBodyKeepsTheConnection(t *testing.T) {
	h, r := relayOf(t, newUpstream(t, nil))
	for _, source := range []string{"one", "other"} {
		taken := r.app.engine.Budget().Reserve(source)
		if !taken.Grow(r.app.generation.MaxBuffer / 2) {
			t.Fatal("no memory to begin with")
		}
		defer taken.Release()
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = h.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server)), nil)
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	for _, c := range []struct {
		name, request string
		keeps         bool
	}{
		{"a small body", "Content-Length: 4\r\n\r\nbody", true},
		{"a large body", "Content-Length: 1048576\r\n\r\nbody", false},
		{"a body of unknown size", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", false},
		{"a body that does not come", "Content-Length: 4\r\n\r\nbo", false},
	} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		_, _ = io.WriteString(conn, "POST /in HTTP/1.1\r\nHost: a\r\n"+c.request)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Close == c.keeps {
			t.Errorf("%s: %v, %v", c.name, resp, err)
		}
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		if c.keeps {
			_, _ = io.WriteString(conn, "GET /in HTTP/1.1\r\nHost: a\r\n\r\n")
			if next, err := http.ReadResponse(in, nil); err != nil || next.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("after %s: %v, %v", c.name, next, err)
			}
		}
		_ = conn.Close()
	}
}
