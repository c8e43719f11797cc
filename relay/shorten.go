// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// shortenPause is the time between two steps in which history is shortened: files
// that are no longer needed are gone from the disk a moment later.
const shortenPause = time.Second

// After a try in vain, which has to read the whole store, the next one waits ten
// times as long as it took, within these bounds.
const (
	vainLeast   = time.Second
	vainLongest = time.Minute
)

// hurry has space made by removing finished messages before their time, unless
// that is being done or has just been in vain.
func (j *janitor) hurry() {
	now := j.session.engine.clock.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || j.hurrying || now.Before(j.notBefore) {
		return
	}
	j.hurrying = true
	j.rounds.Go(j.shorten)
}

// shorten removes the oldest finished messages until there is space, or none of
// them is left.
func (j *janitor) shorten() {
	clock := j.session.engine.clock
	removed, more := 0, true
	var took time.Duration
	for more {
		begun := clock.Now()
		n := j.shortenOnce()
		took = clock.Now().Sub(begun)
		if removed == 0 && n > 0 {
			j.session.engine.log.Warn("removing finished messages before their time, the oldest first, as disk space is short")
		}
		removed += n
		more = n > 0 && j.session.pause(shortenPause)
	}
	if removed > 0 {
		j.session.engine.log.Info("removed finished messages before their time", zap.Int("messages", removed))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.hurrying, j.notBefore = false, clock.Now().Add(min(max(10*took, vainLeast), vainLongest))
}

// shortenOnce is one step. It returns how many messages it has removed.
func (j *janitor) shortenOnce() int {
	s := j.session
	g := s.engine.inForce()
	if g == nil {
		return 0
	}
	excess := s.space.excess(g.Retention <= 0)
	if excess <= 0 {
		return 0
	}
	purged, err := s.store.Purge(j.life, store.PurgeRequest{
		Finished: g.Retention, Dead: g.RetentionDead, DedupeWindow: g.DedupeWindow, Excess: excess,
	})
	if err != nil {
		if !j.ended() {
			s.storeError("making disk space", err)
		}
		return 0
	}
	return purged.Messages
}
