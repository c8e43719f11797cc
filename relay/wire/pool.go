// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"sync"
	"time"
)

// sweepGap is how often connections without work are looked through for such as
// the upstream has closed.
const sweepGap = 10 * time.Second

// pool keeps the connections of a client that have no work. What was used last
// is used first, so that those which are too many grow old.
type pool struct {
	max  int
	keep time.Duration

	mu     sync.Mutex
	idle   []*conn // the oldest first
	closed bool
	timer  *time.Timer // nil while nothing is idle
}

// take returns a connection that is open, nil if there is none.
func (p *pool) take() *conn {
	for {
		p.mu.Lock()
		last := len(p.idle) - 1
		if last < 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		p.mu.Unlock()
		if c.open() {
			return c
		}
		c.close()
	}
}

// put keeps a connection, or closes it where there are enough.
func (p *pool) put(c *conn) {
	c.since = time.Now()
	p.mu.Lock()
	kept := !p.closed && len(p.idle) < p.max
	if kept {
		p.idle = append(p.idle, c)
		if p.timer == nil {
			p.timer = time.AfterFunc(p.gap(), p.sweep)
		}
	}
	p.mu.Unlock()
	if !kept {
		c.close()
	}
}

func (p *pool) gap() time.Duration { return min(sweepGap, p.keep) }

// sweep closes the connections that have been idle for too long, and those that
// the upstream has closed.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	oldest := time.Now().Add(-p.keep)
	kept := p.idle[:0]
	for _, c := range p.idle {
		if c.since.After(oldest) && c.open() {
			kept = append(kept, c)
		} else {
			c.close()
		}
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	p.timer = nil
	if len(kept) > 0 {
		p.timer = time.AfterFunc(p.gap(), p.sweep)
	}
}

// close closes all connections, and has those that are put later closed.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}
