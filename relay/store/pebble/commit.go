// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// commit is a batch on its way to stable storage.
type commit struct {
	failure *failure
	applied chan struct{} // closed when the batch can be read
	done    chan struct{} // closed when it is durable, or can not be
	err     error
}

// commit applies a batch and starts to make it durable. The caller has the
// writer's place, so commits become durable in the order in which they are
// applied. It returns when the batch can be read, or the store has failed.
//
// Commit(Sync) of Pebble reports a failed sync as a success if its logger
// returns, and never returns if it does not. So the batch is applied without
// waiting, by a goroutine that may be lost, and the error of SyncWait is what
// counts.
func (s *Store) commit(b *pebble.Batch) *commit {
	c := &commit{failure: s.failure, applied: make(chan struct{}), done: make(chan struct{})}
	go c.run(s.db, b)
	select {
	case <-c.applied:
	case <-s.failure.ch:
	}
	s.last = c
	return c
}

func (c *commit) run(db *pebble.DB, b *pebble.Batch) {
	defer func() {
		if r := recover(); r != nil {
			c.failure.fail(fmt.Errorf("committing: %v", r))
		}
	}()
	if err := db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		c.failure.fail(fmt.Errorf("committing: %w", err))
		return
	}
	close(c.applied)
	if c.err = b.SyncWait(); c.err != nil {
		c.failure.fail(fmt.Errorf("committing: %w", c.err))
	} else {
		_ = b.Close()
	}
	close(c.done)
}

// waitFor is wait for one who has not written anything, and may go when ctx ends.
func (c *commit) waitFor(ctx context.Context) error {
	if c != nil {
		select {
		case <-c.done:
		case <-c.failure.ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return c.wait()
}

// wait returns nil when the commit is on stable storage. A nil commit always is.
func (c *commit) wait() error {
	if c == nil {
		return nil
	}
	select {
	case <-c.done:
		if c.err == nil {
			return nil
		}
	case <-c.failure.ch:
	}
	return c.failure.err()
}
