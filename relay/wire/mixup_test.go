// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// An upstream that answers in all ways, some of them bad, and requests that are
// canceled at any time: no answer is ever taken for that to another request, and
// none is sent twice.
func TestAnswersAreNotMixedUpWhateverHappensToOtherRequests(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var seen sync.Map
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() { serveOddly(t, conn, &seen) })
		}
	})
	c := New(listener.Addr().String(), Options{MaxIdle: 4})
	var clients sync.WaitGroup
	var next, whole atomic.Int64
	for range 8 {
		clients.Go(func() {
			for range 200 {
				if askOnce(t, c, int(next.Add(1))) {
					whole.Add(1)
				}
			}
		})
	}
	clients.Wait()
	c.Close()
	_ = listener.Close()
	served.Wait()
	if whole.Load() < 400 {
		t.Errorf("only %d of 1600 requests were answered", whole.Load())
	}
}

// askOnce sends a request, which may be canceled, and judges its answer.
func askOnce(t *testing.T, c *Client, id int) (whole bool) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := NewRequest()
	defer r.Release()
	if err := r.Start(http.MethodPost, "/"+strconv.Itoa(id), "app.test"); err != nil {
		t.Error(err)
		return false
	}
	r.Finish([]byte(strings.Repeat("x", rand.IntN(100))))
	if rand.IntN(4) == 0 {
		go cancel()
	}
	answer, err := c.Do(ctx, r)
	if err != nil {
		return false
	}
	if got := answer.Header.Get("X-Id"); got != strconv.Itoa(id) {
		t.Errorf("request %d got the answer to %s", id, got)
	}
	return true
}

// serveOddly answers the requests of a connection.
func serveOddly(t *testing.T, conn net.Conn, seen *sync.Map) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		id := r.URL.Path[1:]
		if _, twice := seen.LoadOrStore(id, true); twice {
			t.Errorf("request %s came twice", id)
		}
		text, again := oddAnswer(id)
		if _, err := io.WriteString(conn, text); err != nil || !again {
			return
		}
	}
}

// oddAnswer returns an answer to a request, and whether the connection stays open.
func oddAnswer(id string) (text string, again bool) {
	head := "HTTP/1.1 200 OK\r\nX-Id: " + id + "\r\n"
	const other = "HTTP/1.1 200 OK\r\nX-Id: other\r\nContent-Length: 0\r\n\r\n"
	long := strings.Repeat("y", 20000)
	switch rand.IntN(12) {
	case 0:
		return head + "Content-Length: 0\r\n\r\n" + other, true
	case 1:
		return head + "Content-Length: 5\r\n\r\nhal", false
	case 2:
		return head + "Connection: close\r\nContent-Length: 0\r\n\r\n", true
	case 3:
		return head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Id: other\r\n\r\n", true
	case 4:
		return "HTTP/1.1 103 Early Hints\r\nX-Id: other\r\n\r\n" + head + "Content-Length: 2\r\n\r\nab", true
	case 5:
		return head + "\r\nuntil the end", false
	case 6:
		return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(long), long), true
	case 7:
		return "", false
	case 8:
		return "HTTP/1.0 200 OK\r\nX-Id: " + id + "\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", true
	case 9:
		return strings.Replace(head, "200 OK", "204 No Content", 1) + "Content-Length: 3\r\n\r\n", true
	}
	return head + "Content-Length: 2\r\n\r\nok", true
}
