// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app is an upstream that answers every request over the wire.
type app struct {
	net.Listener
	conns  chan net.Conn // as they come
	closed chan net.Conn // as clients close them
	done   sync.WaitGroup
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok"

// newApp starts an app. It stops serving a connection when answer returns false,
// and leaves it open.
func newApp(t testing.TB, answer func(net.Conn) bool) *app {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if answer == nil {
		answer = func(c net.Conn) bool {
			_, err := io.WriteString(c, ok)
			return err == nil
		}
	}
	a := &app{Listener: listener, conns: make(chan net.Conn, 100), closed: make(chan net.Conn, 100)}
	var all []net.Conn
	stopped := make(chan struct{})
	a.done.Go(func() {
		defer close(stopped)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all = append(all, conn)
			a.conns <- conn
			a.done.Go(func() {
				in := bufio.NewReader(conn)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						a.closed <- conn
						return
					}
					if _, err := io.Copy(io.Discard, r.Body); err != nil || !answer(conn) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		<-stopped
		for _, conn := range all {
			_ = conn.Close()
		}
		a.done.Wait()
	})
	return a
}

func (a *app) client(t testing.TB, o Options) *Client {
	t.Helper()
	c := New(a.Addr().String(), o)
	t.Cleanup(c.Close)
	return c
}

// post sends a request.
func post(ctx context.Context, t testing.TB, c *Client) (Answer, error) {
	t.Helper()
	return do(ctx, t, c, http.MethodPost)
}

func do(ctx context.Context, t testing.TB, c *Client, method string) (Answer, error) {
	t.Helper()
	r := NewRequest()
	defer r.Release()
	if err := r.Start(method, "/in", "app.test"); err != nil {
		t.Fatal(err)
	}
	r.Finish([]byte("body"))
	return c.Do(ctx, r)
}

// mustPost sends a request that is answered with 200.
func mustPost(t testing.TB, c *Client) {
	t.Helper()
	answer, err := post(t.Context(), t, c)
	if err != nil || answer.Status != 200 || string(answer.Head) != "ok" || answer.Header.Get("X-A") != "b" {
		t.Fatalf("%+v %v", answer, err)
	}
}

func TestConnectionIsUsedAgain(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t, Options{})
	for range 3 {
		mustPost(t, c)
	}
	if n := len(a.conns); n != 1 {
		t.Errorf("%d connections for three requests", n)
	}
}

func TestConnectionThatTheUpstreamHasClosedIsNotUsed(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t, Options{})
	mustPost(t, c)
	conn := <-a.conns
	_ = conn.Close()
	<-a.closed
	mustPost(t, c)
	if n := len(a.conns); n != 1 {
		t.Errorf("%d new connections", n)
	}
}

func TestConnectionOnWhichSomethingCameUnaskedIsNotUsed(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t, Options{})
	mustPost(t, c)
	conn := <-a.conns
	// As HAProxy says that it has waited long enough for a request.
	if _, err := io.WriteString(conn, "HTTP/1.0 408 Request Time-out\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	mustPost(t, c)
	if n := len(a.conns); n != 1 {
		t.Errorf("%d new connections", n)
	}
	_ = conn.Close()
}

// A request of which every byte may have been read is not sent again.
func TestRequestIsNotSentAgainWhenItsConnectionIsClosed(t *testing.T) {
	var requests atomic.Int32
	a := newApp(t, func(c net.Conn) bool {
		if requests.Add(1) == 2 {
			_ = c.Close()
			return false
		}
		_, err := io.WriteString(c, ok)
		return err == nil
	})
	c := a.client(t, Options{})
	mustPost(t, c)
	if _, err := post(t.Context(), t, c); !errors.Is(err, ErrNoAnswer) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("error %v", err)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
	mustPost(t, c)
}

// failing is a connection that takes some bytes of a request and no more.
type failing struct {
	*net.TCPConn
	taken int
}

func (f failing) Write([]byte) (int, error) { return f.taken, syscall.EPIPE }

func TestRequestOfWhichNothingWasWrittenGoesOverAnotherConnection(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t, Options{})
	for taken := range 2 {
		conn, err := net.Dial("tcp", a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.pool.put(newConn(failing{conn.(*net.TCPConn), taken}))
		if taken == 0 {
			mustPost(t, c)
			continue
		}
		if _, err := post(t.Context(), t, c); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("error %v after a byte was written", err)
		}
	}
}

// canceling is a connection whose request is canceled as its answer comes.
type canceling struct {
	*net.TCPConn
	cancel func()
}

func (c canceling) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.cancel()
	return n, err
}

// What ends a canceled request could as well end the next one.
func TestConnectionOfACanceledRequestIsNotUsedAgain(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t, Options{})
	conn, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.pool.put(newConn(canceling{conn.(*net.TCPConn), cancel}))
	if answer, err := post(ctx, t, c); err != nil || answer.Status != 200 {
		t.Errorf("%+v %v", answer, err)
	}
	if n := len(c.pool.idle); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
}

func TestConnectionsBeyondTheBoundAreClosed(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	a := newApp(t, func(c net.Conn) bool {
		both.Done()
		both.Wait()
		_, err := io.WriteString(c, ok)
		return err == nil
	})
	c := a.client(t, Options{MaxIdle: 1})
	var ended sync.WaitGroup
	for range 2 {
		ended.Go(func() { mustPost(t, c) })
	}
	ended.Wait()
	<-a.closed
	if n := len(a.closed); n != 0 {
		t.Errorf("both connections were closed")
	}
}

func TestConnectionWithoutWorkIsClosedAfterATime(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t, Options{IdleTimeout: time.Millisecond})
	mustPost(t, c)
	<-a.closed
	mustPost(t, c)
}

func TestCloseLetsGoOfConnectionsAndSparesRequestsUnderWay(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	var requests atomic.Int32
	a := newApp(t, func(c net.Conn) bool {
		if requests.Add(1) > 1 {
			begun <- struct{}{}
			<-release
		}
		_, err := io.WriteString(c, ok)
		return err == nil
	})
	c := a.client(t, Options{})
	mustPost(t, c)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		mustPost(t, c)
	}()
	<-begun
	c.Close()
	close(release)
	<-ended
	<-a.closed
	go func() { <-begun }()
	mustPost(t, c)
	<-a.closed
	if len(c.pool.idle) > 0 || c.pool.timer != nil {
		t.Error("a client that was closed keeps connections")
	}
}

func TestRequestEndsWithItsContext(t *testing.T) {
	got, over := make(chan struct{}), make(chan struct{})
	defer close(over)
	a := newApp(t, func(net.Conn) bool {
		got <- struct{}{}
		<-over
		return false
	})
	c := a.client(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-got
		cancel()
	}()
	if answer, err := post(ctx, t, c); err == nil {
		t.Errorf("answered %+v", answer)
	}
	if _, err := post(ctx, t, c); err == nil || len(c.pool.idle) > 0 {
		t.Errorf("error %v, %d idle", err, len(c.pool.idle))
	}
}

// counting is a connection that counts the writes to it.
type counting struct {
	*net.TCPConn
	writes *int
}

func (c counting) Write(p []byte) (int, error) {
	*c.writes++
	return c.TCPConn.Write(p)
}

// An upstream that has taken a request which was over would get it twice.
func TestRequestIsNotSentWhoseContextHasEnded(t *testing.T) {
	a := newApp(t, nil)
	c := a.client(t, Options{})
	conn, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var writes int
	c.pool.put(newConn(counting{conn.(*net.TCPConn), &writes}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := post(ctx, t, c); !errors.Is(err, context.Canceled) || writes != 0 {
		t.Errorf("error %v, %d writes", err, writes)
	}
	mustPost(t, c)
	if writes != 1 {
		t.Errorf("%d writes, so that the connection was not kept", writes)
	}
}

func TestAnswerIsReadToItsEndAndItsHeadIsKept(t *testing.T) {
	long := strings.Repeat("0123456789", 10000)
	for name, tc := range map[string]struct {
		answer, head string
		again        bool
		err          error
	}{
		"with a length":       {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + long, long[:HeadSize], true, nil},
		"in chunks":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n", "abcde", true, nil},
		"after interim ones":  {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + ok, "ok", true, nil},
		"without body":        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true, nil},
		"and something after": {ok + "more", "ok", false, nil},
		"the last one":        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "ok", false, nil},
		"interim for ever":    {strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n", 20000), "", false, ErrHeadTooLarge},
		"headers for ever":    {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 50000), "", false, ErrHeadTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, func(c net.Conn) bool {
				_, err := io.WriteString(c, tc.answer)
				return err == nil
			})
			c := a.client(t, Options{})
			answer, err := post(t.Context(), t, c)
			if !errors.Is(err, tc.err) || string(answer.Head) != tc.head || (len(c.pool.idle) == 1) != tc.again {
				t.Errorf("%d bytes %.20q, %v, %d idle", len(answer.Head), answer.Head, err, len(c.pool.idle))
			}
		})
	}
}

func TestAnswerToHeadHasNoBody(t *testing.T) {
	a := newApp(t, func(c net.Conn) bool {
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
		return err == nil
	})
	c := a.client(t, Options{})
	for range 2 {
		if answer, err := do(t.Context(), t, c, http.MethodHead); err != nil || answer.Status != 200 {
			t.Fatalf("%+v %v", answer, err)
		}
	}
	if n := len(a.conns); n != 1 {
		t.Errorf("%d connections", n)
	}
}
