// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// janitorEvery is how often the janitor looks for what has outlived its time.
	janitorEvery = time.Minute

	// janitorBatch is how many messages it removes at once.
	janitorBatch = 10_000
)

// janitor removes messages and dedupe keys that have outlived their time.
type janitor struct {
	session *session
	mu      sync.Mutex
	stop    func() bool
	closed  bool
	rounds  sync.WaitGroup

	// hurrying says that space is being made. Where the last try was in vain there
	// is none before notBefore. life ends with quit.
	hurrying  bool
	notBefore time.Time
	life      context.Context
	end       context.CancelFunc
}

func newJanitor(s *session) *janitor {
	j := &janitor{session: s}
	j.life, j.end = context.WithCancel(context.Background())
	return j
}

func (j *janitor) start() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	j.stop = j.session.engine.clock.AfterFunc(janitorEvery, j.round)
}

// round cleans once and sets the timer for the next time.
func (j *janitor) round() {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return
	}
	j.rounds.Add(1)
	j.mu.Unlock()
	j.clean()
	j.session.space.look()
	j.rounds.Done()
	j.start()
}

func (j *janitor) clean() {
	s := j.session
	g := s.engine.inForce()
	if g == nil {
		return
	}
	req := store.PurgeRequest{
		Finished: g.Retention, Dead: g.RetentionDead, DedupeWindow: g.DedupeWindow, Limit: janitorBatch,
	}
	for more := true; more; {
		purged, err := s.store.Purge(context.Background(), req)
		if err != nil {
			s.storeError("removing what has outlived its time", err)
			return
		}
		if purged.Messages > 0 {
			s.engine.log.Debug("removed messages that have outlived their time", zap.Int("messages", purged.Messages))
		}
		more = purged.More && s.failure() == nil && !j.ended()
	}
}

func (j *janitor) ended() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.closed
}

// quit ends the janitor, after the batch it is at.
func (j *janitor) quit() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	j.end()
	if j.stop != nil {
		j.stop()
	}
}

// wait returns when the janitor has ended after quit.
func (j *janitor) wait() { j.rounds.Wait() }
