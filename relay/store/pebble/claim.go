// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Claim leases deliveries of one destination that are due and held by nobody. It
// writes nothing.
func (s *Store) Claim(ctx context.Context, req store.ClaimRequest) (store.Claimed, error) {
	return reading(s, "claiming", func() (store.Claimed, error) { return s.leaseDue(ctx, &req) })
}

func (s *Store) leaseDue(ctx context.Context, req *store.ClaimRequest) (store.Claimed, error) {
	if req.Limit < 1 {
		return store.Claimed{}, fmt.Errorf("limit %d: %w", req.Limit, store.ErrInvalid)
	}
	claimed, last, err := s.lease(ctx, req)
	if err == nil && len(claimed.Deliveries) > 0 {
		// A delivery can be read before it is durable. It may not be sent before
		// that: a crash would lose a message that the destination has seen, and the
		// sender's retry would become another one.
		err = last.wait()
	}
	return claimed, err
}

// lease claims in the writer's place, and returns the last commit that what was
// claimed may rest on.
func (s *Store) lease(ctx context.Context, req *store.ClaimRequest) (store.Claimed, *commit, error) {
	if err := s.lock(ctx); err != nil {
		return store.Claimed{}, nil, err
	}
	defer s.unlock()
	claimed, err := s.claim(req)
	return claimed, s.last, err
}

func (s *Store) claim(req *store.ClaimRequest) (store.Claimed, error) {
	now := s.now()
	sc, err := s.scan(req.Destination)
	if err != nil {
		return store.Claimed{}, err
	}
	defer sc.close()
	var claimed store.Claimed
	for {
		d, err := sc.first()
		if err != nil {
			return store.Claimed{}, err
		}
		if d == nil {
			break
		}
		if at := claimable(d); at.After(now) {
			claimed.Next = s.clock.timer(at)
			break
		}
		if len(claimed.Deliveries) == req.Limit {
			claimed.More = true
			break
		}
		s.grant(d, now.Add(req.Lease))
		s.keep(d)
		claimed.Deliveries = append(claimed.Deliveries, *d)
	}
	if sc.freed != nil {
		s.uncover(sc.freed, req.Destination)
		claimed.More, claimed.Next = true, time.Time{}
	}
	return claimed, nil
}

// scan walks the open deliveries of a destination in the order in which they
// are claimed: those on disk and those in memory.
type scan struct {
	s     *Store
	queue *queue
	due   *pebble.Iterator
	rows  *pebble.Iterator
	end   []byte          // behind all due keys of the destination
	freed []byte          // the first due key that the scan has come to add, nil for none
	next  *store.Delivery // the first on disk that is not in memory
}

func (s *Store) scan(destination string) (*scan, error) {
	q := s.queue(destination)
	end := after(appendDuePrefix(nil, destination))
	due, err := s.db.NewIter(&pebble.IterOptions{LowerBound: q.from, UpperBound: end, KeyTypes: pebble.IterKeyTypePointsOnly})
	if err != nil {
		return nil, err
	}
	due.First()
	return &scan{s: s, queue: q, due: due, end: end}, nil
}

func (sc *scan) close() {
	_ = sc.due.Close()
	if sc.rows != nil {
		_ = sc.rows.Close()
	}
}

// first returns the first delivery to be claimed, or nil. When the caller has
// changed it, the next call returns the one after it.
func (sc *scan) first() (*store.Delivery, error) {
	if err := sc.advance(); err != nil {
		return nil, err
	}
	d := sc.next
	if len(sc.queue.heap) > 0 {
		if k := sc.queue.heap[0]; d == nil || compareClaims(&k.Delivery, d) < 0 {
			first := k.Delivery
			return &first, nil
		}
	}
	return d, nil
}

// advance goes to the first delivery on disk that is not in memory, and moves
// the beginning of later scans there.
func (sc *scan) advance() error {
	for ; sc.due.Valid(); sc.due.Next() {
		id := parseDelivery(sc.due.Key())
		if _, ok := sc.s.kept[id]; ok {
			continue
		}
		if sc.next != nil && sc.next.ID == id {
			return nil
		}
		d, err := sc.row(id, parseDue(sc.due.Key()))
		if err = explainRead(err); errors.Is(err, store.ErrCorrupt) {
			if err := sc.loseHead(id); err != nil {
				return err
			}
			sc.s.lose(id, sc.queue.destination, err)
			continue
		}
		sc.queue.from = append([]byte(nil), sc.due.Key()...)
		sc.next = d
		return err
	}
	sc.next = nil
	if err := sc.due.Error(); err != nil {
		return err
	}
	sc.queue.from = sc.end
	return nil
}

// lose gives up on a delivery that can not be read. The books count it as open,
// as it has not been delivered; those behind it go on.
func (s *Store) lose(id store.DeliveryID, destination string, err error) {
	if s.lost[id] {
		return
	}
	s.lost[id] = true
	s.logger.Error("a delivery can not be read, and is not delivered; the books count it as open: "+
		"replay its message to the destination",
		zap.Stringer("delivery", id), zap.String("destination", destination), zap.Error(err))
}

// row reads the delivery that a due key speaks of.
func (sc *scan) row(id store.DeliveryID, at time.Time) (*store.Delivery, error) {
	if sc.rows == nil {
		it, err := sc.s.iterate([]byte{spaceDelivery})
		if err != nil {
			return nil, err
		}
		sc.rows = it
	}
	if key := appendDeliveryKey(nil, id); !sc.rows.SeekGE(key) || string(sc.rows.Key()) != string(key) {
		return nil, fmt.Errorf("delivery %s is due and does not exist: %w", id, firstError(sc.rows.Error(), store.ErrCorrupt))
	}
	d, err := decodeDelivery(id, sc.rows.Value())
	if err != nil {
		return nil, err
	}
	if !d.State.Open() || !d.DueAt.Equal(at) {
		return nil, fmt.Errorf("delivery %s is not due as its key says: %w", id, store.ErrCorrupt)
	}
	return &d, nil
}
