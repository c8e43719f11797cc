// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-relay/caddy-relay/relay"
)

// newBody returns a body of these bytes.
func newBody(body []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }

// passWriter passes an answer on as it is written, but holds a 2xx back until the
// key of the request is durable. If that fails the sender is refused, and the
// answer goes nowhere.
type passWriter struct {
	*caddyhttp.ResponseWriterWrapper
	request *http.Request
	pass    *relay.Pass
	refuse  func(error)
	before  http.Header // as it was before the next handler

	status  int // the final one, 0 before it
	refused bool
}

func newPassWriter(w http.ResponseWriter, r *http.Request, p *relay.Pass, refuse func(error)) *passWriter {
	return &passWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		request:               r, pass: p, refuse: refuse, before: w.Header().Clone(),
	}
}

// WriteHeader keeps the key before a 2xx goes out.
func (w *passWriter) WriteHeader(status int) {
	final := status >= 200 || status == http.StatusSwitchingProtocols
	if w.status != 0 && final {
		return
	}
	if final {
		w.status = status
	}
	if final && status >= 200 && status <= 299 && !w.keep() {
		return
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// keep keeps the key, or refuses the request.
func (w *passWriter) keep() bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.request.Context()), acceptTime)
	defer cancel()
	err := w.pass.Keep(ctx)
	if err == nil {
		return true
	}
	w.refused = true
	header := w.Header()
	clear(header)
	maps.Copy(header, w.before)
	w.refuse(err)
	return false
}

// Write writes a part of the answer, the first of which is a 200 where no status
// came before.
func (w *passWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom is Write for all that a reader has.
func (w *passWriter) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	if w.refused {
		return io.Copy(io.Discard, r)
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError sends what has been written. The server would begin a 200 with it.
func (w *passWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	if w.refused {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is FlushError for those who do not ask.
func (w *passWriter) Flush() { _ = w.FlushError() }

// Hijack gives the connection away. Nothing that is written to it then is a 2xx
// that we know of, so the key is not kept.
func (w *passWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// Interface guards
var (
	_ http.Flusher  = (*passWriter)(nil)
	_ http.Hijacker = (*passWriter)(nil)
	_ io.ReaderFrom = (*passWriter)(nil)
)
