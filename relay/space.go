// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// spaceEvery is how often the space is looked at while something comes.
const spaceEvery = 500 * time.Millisecond

// entrySize is what a message takes beside its body, about, in bytes.
const entrySize = 1 << 10

// space decides whether there is space for a message. It looks at what the store
// has last measured, which never blocks, whatever the disk does.
type space struct {
	session *session
	state   atomic.Uint32
	room    atomic.Int64 // bytes that may be accepted until the next look
	due     atomic.Int64 // when that is, in the session

	mu     sync.Mutex // held by who looks
	limits atomic.Pointer[DiskLimits]
}

func newSpace(s *session) *space {
	p := &space{session: s}
	p.limits.Store(new(DiskLimits))
	p.room.Store(math.MaxInt64)
	return p
}

// limit changes the limits, which hold from the next look on.
func (p *space) limit(l DiskLimits) {
	p.limits.Store(&l)
	p.due.Store(0)
}

// now returns the state of the disk as it was last seen.
func (p *space) now() DiskState { return DiskState(p.state.Load()) }

// admit returns ErrDiskFull where there is no space for a body of that size.
func (p *space) admit(size int) error {
	if p.full() || p.room.Add(-int64(size)-entrySize) < 0 {
		return ErrDiskFull
	}
	return nil
}

// full reports whether there is no space for any message, after a look if one is
// due.
func (p *space) full() bool {
	if int64(p.session.age()) >= p.due.Load() && p.mu.TryLock() {
		p.lookLocked()
		p.mu.Unlock()
	}
	return p.now() == DiskFull
}

// look sees how much space there is.
func (p *space) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lookLocked()
}

func (p *space) lookLocked() {
	s := p.session
	p.due.Store(int64(s.age() + spaceEvery))
	h := s.store.Health()
	if errors.Is(h.Err, store.ErrFailed) {
		s.storeError("looking at the disk", h.Err)
		return
	}
	v := p.limits.Load().view(&h)
	was := p.now()
	state := v.state(was)
	p.room.Store(v.room())
	p.state.Store(uint32(state))
	if state != was {
		p.tell(state, &h, &v)
	}
	if v.excess(false) > 0 {
		s.janitor.hurry()
	}
}

// excess returns how many bytes of finished messages have to go now.
func (p *space) excess(forEver bool) int64 {
	h := p.session.store.Health()
	v := p.limits.Load().view(&h)
	return v.excess(forEver)
}

// tell tells the operator of a change.
func (p *space) tell(state DiskState, h *store.Health, v *diskView) {
	log := p.session.engine.log.With(zap.String("location", h.Location),
		zap.Int64("free", v.free), zap.Int64("min_free", v.minFree), zap.Int64("used", v.used), zap.Int64("max_disk", v.max))
	switch state {
	case DiskFull:
		log.Error(fmt.Sprintf("%s: nothing is accepted until there is space again, and senders get 503; deliveries go on. "+
			"Make space on the volume, or lower retention, or change min_free or max_disk", fullReason(v)))
	case DiskShort:
		log.Warn("disk space is short: answers of upstreams are no longer kept, and delivered messages are removed before their time")
	case DiskAmple:
		log.Info("there is disk space again")
	}
}

// fullReason names the mark that was reached.
func fullReason(v *diskView) string {
	switch {
	case v.ended:
		return "disk is full"
	case v.knowsFree && v.free < v.minFree+v.margin():
		return "less than min_free is left on the disk"
	default:
		return "store has reached max_disk"
	}
}
