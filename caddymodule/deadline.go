// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// acceptTime is how long a sender waits for its answer after the last byte of
	// its body, at most.
	acceptTime = 2500 * time.Millisecond

	// deadlineGap is how much less that may be.
	deadlineGap = 10 * time.Millisecond
)

// deadlines gives requests that come at about the same time one context between
// them, which ends when the first of them must be answered: a timer and a context
// for each cost more than a microsecond. It knows nothing of their own contexts,
// for what has begun to be committed does not end with its sender.
type deadlines struct{ current atomic.Pointer[deadline] }

type deadline struct {
	context.Context
	last time.Time // at which a request may join
}

// next returns the context of a request whose body had come at that time.
func (d *deadlines) next(now time.Time) context.Context {
	if c := d.current.Load(); c != nil && !now.After(c.last) {
		return c.Context
	}
	ctx, cancel := context.WithDeadline(context.Background(), now.Add(acceptTime))
	context.AfterFunc(ctx, cancel) // nobody ends it earlier
	c := &deadline{Context: ctx, last: now.Add(deadlineGap)}
	d.current.Store(c)
	return ctx
}
