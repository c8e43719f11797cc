// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// kept is an open delivery that is kept in memory: one that is leased, or was
// given back.
type kept struct {
	store.Delivery
	queue  *queue
	index  int     // in the queue's heap
	cohort *cohort // in which it was handed over if it has no due key, else nil
}

// claimable returns when the delivery can be claimed.
func claimable(d *store.Delivery) time.Time {
	if d.State == store.Leased {
		return d.LeaseUntil
	}
	return d.DueAt
}

func compareIDs(a, b store.DeliveryID) int {
	return cmp.Or(bytes.Compare(a.Message[:], b.Message[:]), cmp.Compare(a.N, b.N))
}

// compareClaims tells which of two deliveries is claimed first.
func compareClaims(a, b *store.Delivery) int {
	return cmp.Or(claimable(a).Compare(claimable(b)), compareIDs(a.ID, b.ID))
}

// queue is what is known of the open deliveries of a destination without a look
// at the disk.
type queue struct {
	destination string
	// heap holds the kept ones, first to be claimed first.
	heap []*kept
	// from is a due key: all open deliveries with a smaller one are kept. Below
	// lie the remains of those that were delivered, which nobody has to walk over.
	from []byte
}

func (s *Store) queue(destination string) *queue {
	q, ok := s.queues[destination]
	if !ok {
		q = &queue{destination: destination, from: appendDuePrefix(nil, destination)}
		s.queues[destination] = q
	}
	return q
}

// keep takes an open delivery into memory, or changes it there.
func (s *Store) keep(d *store.Delivery) *kept {
	if k, ok := s.kept[d.ID]; ok {
		k.Delivery = *d
		heap.Fix(k.queue, k.index)
		return k
	}
	k := &kept{Delivery: *d, queue: s.queue(d.Destination)}
	s.kept[d.ID] = k
	heap.Push(k.queue, k)
	return k
}

// drop forgets a delivery that is kept.
func (s *Store) drop(id store.DeliveryID) {
	if k, ok := s.kept[id]; ok {
		heap.Remove(k.queue, k.index)
		delete(s.kept, id)
	}
}

// uncover makes sure that a delivery that is not kept is found on disk.
func (s *Store) uncover(due []byte, destination string) {
	if q := s.queue(destination); bytes.Compare(due, q.from) < 0 {
		q.from = bytes.Clone(due)
	}
}

// grant leases a delivery.
func (s *Store) grant(d *store.Delivery, until time.Time) {
	d.State = store.Leased
	d.Epoch = max(d.Epoch, s.epoch) + 1
	d.LeaseUntil = until.Truncate(time.Microsecond)
}

// ClaimByID leases one delivery that is open and held by nobody. It writes nothing.
func (s *Store) ClaimByID(ctx context.Context, id store.DeliveryID, lease time.Duration) (store.Delivery, error) {
	return reading(s, "claiming", func() (store.Delivery, error) { return s.leaseByID(ctx, id, lease) })
}

func (s *Store) leaseByID(ctx context.Context, id store.DeliveryID, lease time.Duration) (store.Delivery, error) {
	var d store.Delivery
	var last *commit
	err := s.read(ctx, func(t *txn) error {
		c, err := t.load(id)
		if err != nil {
			return err
		}
		if !c.State.Open() || c.Blocked() || c.State == store.Leased && c.LeaseUntil.After(t.now) {
			return fmt.Errorf("%s delivery %s: %w", c.State, id, store.ErrState)
		}
		s.grant(&c.Delivery, t.now.Add(lease))
		s.keep(&c.Delivery)
		d, last = c.Delivery, s.last
		return nil
	})
	if err == nil {
		err = last.wait() // as in Claim
	}
	return d, err
}

// holds reports whether a lease is the one under which d is held. Only a newer
// lease or the end of the delivery takes it away, not the passing of time.
func holds(l store.Lease, d *store.Delivery) bool {
	return d.State == store.Leased && d.Epoch == l.Epoch
}

// Extend moves the end of leases, and returns those that were lost.
func (s *Store) Extend(ctx context.Context, leases []store.Lease, d time.Duration) ([]store.Lease, error) {
	const doing = "extending leases"
	end, err := s.begin(doing)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := s.lock(ctx); err != nil {
		return nil, s.answer(doing, err)
	}
	defer s.unlock()
	until := s.now().Add(d).Truncate(time.Microsecond)
	return slices.Collect(func(yield func(store.Lease) bool) {
		for _, l := range leases {
			k, ok := s.kept[l.Delivery]
			if ok && holds(l, &k.Delivery) {
				k.LeaseUntil = until
				heap.Fix(k.queue, k.index)
			} else if !yield(l) {
				return
			}
		}
	}), nil
}

// Len, Less, Swap, Push and Pop make a queue a heap.
func (q *queue) Len() int { return len(q.heap) }

// Less reports whether the i-th delivery is claimed before the j-th.
func (q *queue) Less(i, j int) bool {
	return compareClaims(&q.heap[i].Delivery, &q.heap[j].Delivery) < 0
}

// Swap swaps two deliveries.
func (q *queue) Swap(i, j int) {
	q.heap[i], q.heap[j] = q.heap[j], q.heap[i]
	q.heap[i].index, q.heap[j].index = i, j
}

// Push adds a delivery at the end.
func (q *queue) Push(x any) {
	k := x.(*kept)
	k.index = len(q.heap)
	q.heap = append(q.heap, k)
}

// Pop takes the last delivery away.
func (q *queue) Pop() any {
	last := len(q.heap) - 1
	k := q.heap[last]
	q.heap[last] = nil
	q.heap = q.heap[:last]
	return k
}
