// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// DefaultTimeout bounds an attempt whose destination sets no timeout.
const DefaultTimeout = 30 * time.Second

// DefaultMaxInFlight bounds the attempts that run at once for a destination
// that sets no bound.
const DefaultMaxInFlight = 64

// Destination is where deliveries go.
type Destination struct {
	// ID identifies the destination in the store, over restarts and
	// reconfigurations. See DestinationID.
	ID string

	// Timeout bounds each attempt. Default 30 seconds.
	Timeout time.Duration

	// Retry decides over failed attempts. Without a policy it has that of
	// retry.Default, and without Never its statuses too.
	Retry retry.Rule

	// MaxInFlight bounds how many attempts run at once. Fewer do while the
	// destination shows that it can not take so many. Default 64.
	MaxInFlight int

	// Rate bounds how many attempts are started within some time. Default: no bound.
	Rate RateLimit

	// Hold says that a dead delivery with an order key keeps those behind it waiting
	// until it is re-driven and delivered, canceled or deleted. Default false: the
	// next one goes on.
	Hold bool

	// Deliverer makes the attempts.
	Deliverer Deliverer
}

// DestinationID returns the id of a destination of a source: the two names
// with a colon between them, which no name contains.
func DestinationID(source, name string) string { return source + ":" + name }

// Deliverer makes one attempt. It may be called by many goroutines at once.
type Deliverer interface {
	// Deliver sends the message and reports how that ended. It obeys ctx, whose
	// deadline is the timeout of the destination, and it never panics. It must not
	// change the message, nor keep it.
	Deliver(ctx context.Context, a Attempt) Result
}

// Attempt is what a Deliverer needs to know.
type Attempt struct {
	// Message is what to send. Its body has been found intact.
	Message *store.Message

	// Delivery is the delivery as it stood before the attempt.
	Delivery store.Delivery

	// Number counts the attempts of the delivery from 1.
	Number uint32

	// Waiter takes the answer for a sender who waits for it, nil where none does.
	Waiter *Waiter
}

// Result is how an attempt ended.
type Result struct {
	// Outcome is how it ended.
	Outcome store.Outcome

	// Status is the HTTP status of the answer, 0 where none came.
	Status int

	// Head is the first bytes of the answer's body.
	Head []byte

	// RetryAfter is what the answer's Retry-After header asked for, 0 for nothing.
	RetryAfter time.Duration

	// Err says why the attempt failed. Its text is stored and shown to operators,
	// so it holds no secrets.
	Err error
}
