// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"time"
)

// MaxHead bounds the headers of an answer, together with those of the interim
// answers before it, in bytes.
const MaxHead = 256 << 10

// conn is a connection to an upstream. It is used by one goroutine at a time.
type conn struct {
	net  net.Conn
	in   *bufio.Reader
	room int64 // how much more may be read

	prober
	abort func()    // ends reads and writes that are under way
	since time.Time // when it had no work any more
}

func newConn(under net.Conn) *conn {
	c := &conn{net: under}
	c.in = bufio.NewReader(c)
	c.abort = func() { _ = under.SetDeadline(time.Unix(1, 0)) }
	c.prober.prepare(under)
	return c
}

func (c *conn) close() { _ = c.net.Close() }

// Read reads what c.in wants, within the bound.
func (c *conn) Read(p []byte) (int, error) {
	if c.room <= 0 {
		return 0, ErrHeadTooLarge
	}
	if int64(len(p)) > c.room {
		p = p[:c.room]
	}
	n, err := c.net.Read(p)
	c.room -= int64(n)
	return n, err
}

// exchange sends a request and reads its answer. again says that the connection
// is good for another.
func (c *conn) exchange(r *Request) (answer Answer, again bool, err error) {
	if n, err := c.net.Write(r.bytes); err != nil {
		if n == 0 {
			err = unsentError{err}
		}
		return Answer{}, false, err
	}
	c.room = MaxHead
	response, err := c.final(r) //nolint:bodyclose // it is read to its end, or the connection is closed
	if err != nil {
		return Answer{}, false, err
	}
	answer = Answer{Status: response.StatusCode, Header: response.Header}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return answer, false, nil
	}
	c.room = math.MaxInt64
	if answer.Head, err = readBody(response); err != nil {
		return Answer{}, false, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return answer, !response.Close && c.in.Buffered() == 0, nil
}

// final reads answers up to the first one that is no interim one. Switching
// protocols is final.
func (c *conn) final(r *Request) (*http.Response, error) {
	for {
		if _, err := c.in.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				err = ErrNoAnswer
			}
			return nil, err
		}
		response, err := http.ReadResponse(c.in, r.model)
		switch {
		case c.room <= 0 && err != nil:
			return nil, ErrHeadTooLarge
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, ErrNoAnswer
		case err != nil:
			return nil, err
		case response.StatusCode < 100:
			return nil, fmt.Errorf("malformed HTTP status %03d", response.StatusCode)
		case response.StatusCode >= 200, response.StatusCode == http.StatusSwitchingProtocols:
			return response, nil
		}
	}
}
