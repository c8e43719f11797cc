// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// resetting is a listener that resets as many connections as it has left to.
type resetting struct {
	net.Listener
	left atomic.Int64
}

func (l *resetting) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || l.left.Add(-1) < 0 {
			return conn, err
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

// TestPostToAnAdminEndpointThatIsJustReplaced has the first connection reset, as by a listener that is closed before it
// has taken the connection.
func TestPostToAnAdminEndpointThatIsJustReplaced(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := &resetting{Listener: inner}
	listener.left.Store(1)
	var posts atomic.Int64
	endpoint := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if posts.Add(1) == 2 {
			http.Error(w, "refused", http.StatusBadRequest)
		}
	})}
	go func() { _ = endpoint.Serve(listener) }()
	t.Cleanup(func() { _ = endpoint.Close() })
	s := &server{t: t, admin: inner.Addr().String()}
	if err := s.load("a"); err != nil {
		t.Errorf("what was reset and then taken: %v", err)
	}
	if err := s.load("b"); err == nil || posts.Load() != 2 {
		t.Errorf("what was refused: %v, after %d posts", err, posts.Load())
	}
}
