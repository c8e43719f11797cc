// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"
)

// Options are the limits of a client. The zero value has the defaults of Caddy's
// reverse_proxy.
type Options struct {
	// MaxIdle bounds the connections that are kept without work. Default 32.
	MaxIdle int

	// IdleTimeout is how long a connection is kept without work. Default 2 minutes.
	IdleTimeout time.Duration

	// DialTimeout bounds how long a connection may take to open. Default 3 seconds.
	DialTimeout time.Duration
}

// Client sends requests to one upstream. It may be used by many goroutines at
// once.
type Client struct {
	address string
	dialer  net.Dialer
	pool    pool
}

// keepAlive is how often a connection is probed by TCP.
const keepAlive = 30 * time.Second

// New returns a client for the upstream at host:port. A name is resolved for each
// connection anew. It opens none before it needs one.
func New(address string, o Options) *Client {
	return &Client{
		address: address,
		dialer: net.Dialer{
			Timeout:         cmp.Or(o.DialTimeout, 3*time.Second),
			KeepAliveConfig: net.KeepAliveConfig{Enable: true, Interval: keepAlive},
		},
		pool: pool{max: cmp.Or(o.MaxIdle, 32), keep: cmp.Or(o.IdleTimeout, 2*time.Minute)},
	}
}

// Do sends a finished request and returns its answer, of which the body has come
// to its end. It ends with ctx, whatever the upstream does, and never sends
// anything twice; nothing at all where ctx has ended already.
//
// The error is ErrIncomplete where an answer has begun, and another where none
// came: ErrNoAnswer, ErrHeadTooLarge, or what the connection, the dialer or
// net/http's parser says.
func (c *Client) Do(ctx context.Context, r *Request) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	for {
		reused := c.pool.take()
		if reused == nil {
			break
		}
		answer, err := c.exchange(ctx, reused, r)
		// The upstream may have closed the connection a moment ago.
		if _, unsent := errors.AsType[unsentError](err); !unsent || ctx.Err() != nil {
			return answer, err
		}
	}
	fresh, err := c.dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return Answer{}, err
	}
	return c.exchange(ctx, newConn(fresh), r)
}

// exchange sends a request over a connection, and keeps the connection if another
// one can be sent over it.
func (c *Client) exchange(ctx context.Context, on *conn, r *Request) (Answer, error) {
	stop := context.AfterFunc(ctx, on.abort)
	answer, again, err := on.exchange(r)
	if !stop() || !again {
		on.close()
	} else {
		c.pool.put(on)
	}
	return answer, err
}

// Close closes the connections without work, and from now on others as soon as
// they have none. Requests can still be sent.
func (c *Client) Close() { c.pool.close() }
