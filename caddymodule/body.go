// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/caddy-relay/caddy-relay/relay"
)

const (
	// bodyStart is how much of the memory budget is taken before anything of a
	// body has come. It is small, as a stranger gets it for nothing.
	bodyStart = 4 << 10

	// bodyStep is how much of the memory budget is taken at a time.
	bodyStep = 64 << 10

	// bodyTime is how long a sender has for its body, whatever its size.
	bodyTime = 10 * time.Second

	// bodyRate is how fast a sender must be beyond that, in bytes per second.
	bodyRate = 256 << 10
)

// Why a body was not read.
var (
	errTooLarge = errors.New("body is over the limit")
	errNoMemory = errors.New("memory for bodies is used up")
)

// bodyReader reads one body into memory, within a size, a time and a budget.
type bodyReader struct {
	body        io.Reader
	size        int64 // as announced, -1 for unknown
	limit       int64
	reservation *relay.Reservation
	response    http.ResponseWriter
	started     time.Time
}

// newBodyReader returns the reader of a request's body. w is the writer of its
// response.
func newBodyReader(w http.ResponseWriter, r *http.Request, limit int64, reservation *relay.Reservation) bodyReader {
	return bodyReader{
		body:        r.Body,
		size:        r.ContentLength,
		limit:       limit,
		reservation: reservation,
		response:    w,
		started:     time.Now(),
	}
}

// read returns the body as it was received.
func (b *bodyReader) read() ([]byte, error) {
	if b.size > b.limit {
		return nil, errTooLarge
	}
	if b.size == 0 || b.body == nil || b.body == http.NoBody {
		return nil, nil
	}
	buf, err := b.grow(nil)
	if err != nil {
		return nil, err
	}
	b.deadline(b.due(0))
	extended := 0
	for {
		n, err := b.body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > b.limit:
			return nil, errTooLarge
		case errors.Is(err, io.EOF):
			b.relax()
			return buf, nil
		case err != nil:
			return nil, bodyError(err)
		}
		if int64(len(buf)) == b.size {
			return buf, b.end()
		}
		if len(buf) == cap(buf) {
			if buf, err = b.grow(buf); err != nil {
				return nil, err
			}
		}
		if len(buf)-extended >= bodyStep {
			extended = len(buf)
			b.deadline(b.due(extended))
		}
	}
}

// deadline sets when the connection gives up reading. Not every writer can;
// Caddy's own timeouts hold then.
func (b *bodyReader) deadline(at time.Time) {
	_ = http.NewResponseController(b.response).SetReadDeadline(at)
}

// due is when the body must have been read, after so many bytes of it.
func (b *bodyReader) due(received int) time.Time {
	return b.started.Add(bodyTime + time.Duration(received)*time.Second/bodyRate)
}

// end reads the end of a body of announced size, of which all bytes have come.
func (b *bodyReader) end() error {
	_, err := io.ReadFull(b.body, make([]byte, 1))
	if !errors.Is(err, io.EOF) {
		return bodyError(err)
	}
	b.relax()
	return nil
}

// relax lifts the deadline, lest it end what the connection is used for next. The
// server sets its own before the next request, so that one which is still far
// off when the body has come is left to it: each change costs.
func (b *bodyReader) relax() {
	if time.Since(b.started) > bodyTime/4 {
		b.deadline(time.Time{})
	}
}

// grow returns a larger buffer with the same bytes in it. The memory follows
// what has arrived, not what was announced, and ends exactly at what was.
func (b *bodyReader) grow(buf []byte) ([]byte, error) {
	most := b.limit + 1
	if b.size >= 0 {
		most = b.size
	}
	next := min(max(2*int64(cap(buf)), bodyStep), most)
	if cap(buf) == 0 {
		next = min(bodyStart, most)
	}
	if !b.reservation.Grow(next - int64(cap(buf))) {
		return nil, errNoMemory
	}
	larger := make([]byte, len(buf), next)
	copy(larger, buf)
	return larger, nil
}

// bodyError tells a body that is too large, also for a handler before us, from
// trouble on the way. No error means that there were more bytes than announced.
func bodyError(err error) error {
	if err == nil {
		return errTooLarge
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errTooLarge
	}
	return err
}

const (
	// skipSize is the largest body that is cheaper to read than a new connection.
	skipSize = 64 << 10

	// skipMost is the largest body that is read nevertheless, so that its sender sees
	// the answer: what is still being sent when a connection is closed resets it. The
	// server of net/http reads as much after a handler that has not.
	skipMost = 256 << 10

	// skipTime is how long that may take: mostly it is there already.
	skipTime = 100 * time.Millisecond
)

// skip takes a small body that nobody wants off its connection, and reports
// whether another request may follow on it. It takes no memory. Under load senders
// that are refused would else all connect anew, which costs more than what they
// are refused for.
func skip(w http.ResponseWriter, r *http.Request) bool {
	if r.ContentLength < 0 || r.ContentLength > skipMost {
		return false
	}
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return true
	}
	controller := http.NewResponseController(w)
	if controller.SetReadDeadline(time.Now().Add(skipTime)) != nil {
		return false
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return false
	}
	return controller.SetReadDeadline(time.Time{}) == nil
}
