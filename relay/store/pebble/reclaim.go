// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// reclaim asks for the space of a stretch of removed messages.
type reclaim struct {
	stretch
	done chan struct{} // closed when all has been tried
}

// reclaimAfter is how many bytes of bodies operators delete before their space is
// asked for: every time the tables around are written anew.
const reclaimAfter = 16 << 20

// removed is what operators have deleted since its space was asked for.
type removed struct {
	stretch
	messages int
	bytes    int64
}

// reclaimRemoved asks for the space of what operators delete, once it is enough. The
// caller has the writer's place.
func (s *Store) reclaimRemoved(id store.MessageID, size int64) {
	r := &s.removed
	if r.messages == 0 || bytes.Compare(id[:], r.first[:]) < 0 {
		r.first = id
	}
	if r.messages == 0 || bytes.Compare(id[:], r.last[:]) > 0 {
		r.last = id
	}
	r.messages++
	if r.bytes += size; r.bytes >= reclaimAfter {
		s.reclaimLater(r.stretch)
		*r = removed{}
	}
}

// reclaimLater asks for the space of removed messages, and returns what is closed
// when it has been given back. Where this has been asked for already the two
// become one.
func (s *Store) reclaimLater(f stretch) <-chan struct{} {
	r := reclaim{stretch: f, done: make(chan struct{})}
	for {
		select {
		case s.reclaim <- r:
			return r.done
		case old := <-s.reclaim:
			if bytes.Compare(old.first[:], r.first[:]) < 0 {
				r.first = old.first
			}
			if bytes.Compare(old.last[:], r.last[:]) > 0 {
				r.last = old.last
			}
			r.done = old.done
		}
	}
}

// reclaimed waits until space has been given back. That takes long on a full
// disk.
func (s *Store) reclaimed(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.life.Done():
		return store.ErrClosed
	case <-s.failure.ch:
		return s.failure.err()
	}
}

// reclaimSpace gives the space of removed messages back to the disk: a range
// that is deleted stays on it until it has been flushed and compacted.
func (s *Store) reclaimSpace(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.reclaim:
			if err := s.compact(ctx, r.stretch); err != nil && ctx.Err() == nil {
				s.logger.Warn("giving disk space back", zap.Error(err))
			}
			s.measure()
			close(r.done)
		}
	}
}

func (s *Store) compact(ctx context.Context, f stretch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("database: %v", r)
		}
	}()
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-flushed:
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, space := range [...]byte{spaceMessage, spaceDelivery, spaceAttempt} {
		from := append([]byte{space}, f.first[:]...)
		to := after(append([]byte{space}, f.last[:]...))
		if err := s.db.Compact(ctx, from, to, false); err != nil {
			return err
		}
	}
	return nil
}
