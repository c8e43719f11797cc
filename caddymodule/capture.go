// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/wire"
)

// capture takes the answer of a chain of handlers, of which it keeps status,
// headers and the first bytes of the body.
type capture struct {
	header http.Header
	status int
	head   []byte
	waiter *relay.Waiter // of the sender, nil where none waits
}

func newCapture(waiter *relay.Waiter) *capture {
	return &capture{header: make(http.Header), waiter: waiter}
}

// Header returns the headers to answer with.
func (c *capture) Header() http.Header { return c.header }

// noStatus is the status of an answer whose own is less than HTTP has.
const noStatus = -1

// WriteHeader takes the first status that is final. An upstream that switches
// protocols has given its last answer, if a useless one.
func (c *capture) WriteHeader(status int) {
	if c.status == 0 && status < 100 {
		c.status = noStatus
		return
	}
	if c.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		c.status = status
		if c.waiter != nil {
			named := connectionNamed(c.header)
			c.waiter.Begin(status, c.header, func(name string, values []string) bool { return answered(name, values, named) })
		}
	}
}

// Write keeps what fits.
func (c *capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	if room := wire.HeadSize - len(c.head); room > 0 {
		c.head = append(c.head, p[:min(room, len(p))]...)
	}
	c.waiter.Write(p)
	return len(p), nil
}

// Flush does nothing: there is nobody to wait.
func (c *capture) Flush() {}

// Interface guard
var _ http.Flusher = (*capture)(nil)
