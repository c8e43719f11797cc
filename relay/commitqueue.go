// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync"
	"sync/atomic"
	"time"
)

// commitQueueSize bounds the messages that wait for their commit.
const commitQueueSize = 4096

// shedding says when messages of a kind are refused.
type shedding struct {
	// room is how many messages the queue may hold.
	room int

	// sojourn tells whether the queue stands.
	sojourn sojourn

	// wait is how long a message may take to be committed after the commit under way,
	// by the time that one takes: the sojourn tells too late of a disk that takes long
	// for each.
	wait time.Duration

	// stall is how long the first in the queue may have waited: a disk that does not
	// answer takes nothing out by which one could tell.
	stall time.Duration
}

// commitQueue holds messages that wait for their commit, in the order of their
// coming. It refuses what is new rather than have all wait too long: a message
// that was taken is never given up.
type commitQueue struct {
	// more gets a value when the queue is not empty any more.
	more chan struct{}

	// crowded says that a message was refused whose sender sends again by itself, and
	// that the next one would be, too.
	crowded atomic.Bool

	mu      sync.Mutex
	entries []*entry // oldest first, from head
	head    int
	closed  bool

	// most is for messages whose senders send again by themselves, last for those
	// that get the rest, too, because their senders do not.
	most shedding
	last shedding

	// began is when the commit under way was begun, zero while none is, and took how
	// long the one before it took.
	began time.Time
	took  time.Duration
}

func newCommitQueue() *commitQueue {
	return &commitQueue{
		more: make(chan struct{}, 1),
		most: shedding{
			room: commitQueueSize * 3 / 4, sojourn: sojourn{limit: sojournLimit}, wait: 400 * time.Millisecond, stall: time.Second,
		},
		last: shedding{
			room: commitQueueSize, sojourn: sojourn{limit: 750 * time.Millisecond}, wait: time.Second, stall: 2 * time.Second,
		},
	}
}

// add takes a message, or returns ErrOverloaded or ErrClosed. It does not wait.
func (q *commitQueue) add(e *entry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if q.refuses(e.since, e.inbound.ShedLast) {
		q.crowded.Store(!e.inbound.ShedLast || q.crowded.Load())
		return ErrOverloaded
	}
	q.entries = append(q.entries, e)
	if q.len() == 1 {
		select {
		case q.more <- struct{}{}:
		default:
		}
	}
	return nil
}

// refuses reports whether a message that comes now has to be turned away.
func (q *commitQueue) refuses(now time.Time, shedLast bool) bool {
	s := &q.most
	if shedLast {
		s = &q.last
	}
	n := q.len()
	return n > 0 && (n >= s.room || s.sojourn.standing || now.Sub(q.entries[q.head].since) > s.stall ||
		n >= commitBatch && time.Duration(n/commitBatch+1)*q.pace(now) > s.wait)
}

// pace returns how long a commit takes: as the last one did, or the one under way
// has by now.
func (q *commitQueue) pace(now time.Time) time.Duration {
	if q.began.IsZero() {
		return q.took
	}
	return max(q.took, now.Sub(q.began))
}

func (q *commitQueue) len() int { return len(q.entries) - q.head }

// take moves the oldest messages to batch, which are committed until it is called
// again.
func (q *commitQueue) take(now time.Time, batch []*entry) []*entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.began.IsZero() {
		q.took = now.Sub(q.began)
	}
	if q.began = now; q.len() == 0 {
		q.began = time.Time{}
		q.crowded.Store(false)
		return batch
	}
	for size := 0; q.len() > 0 && len(batch) < commitBatch && size < commitBytes; q.head++ {
		e := q.entries[q.head]
		q.entries[q.head] = nil
		batch = append(batch, e)
		size += len(e.inbound.Message.Request.Body)
	}
	waited, left := now.Sub(batch[len(batch)-1].since), q.len() > 0
	q.most.sojourn.served(now, waited, left)
	q.last.sojourn.served(now, waited, left)
	q.crowded.Store(q.crowded.Load() && q.refuses(now, false))
	q.shrink()
	return batch
}

// shrink moves what is left to the front when most of the memory is behind it.
func (q *commitQueue) shrink() {
	if q.head < len(q.entries) && q.head < commitBatch {
		return
	}
	n := copy(q.entries, q.entries[q.head:])
	clear(q.entries[n:])
	q.entries, q.head = q.entries[:n], 0
}

// close refuses all that is new, and returns what is left.
func (q *commitQueue) close() []*entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.entries[q.head:]
	q.entries, q.head, q.closed = nil, 0, true
	return left
}
