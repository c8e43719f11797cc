// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Accept writes a message with its dedupe key and deliveries to the store and
// returns when that is durable, or when ctx ends. A duplicate gets its receipt
// only when the commit of its original is durable; should that commit fail, the
// duplicate takes the original's place.
//
// Its errors are ErrNotReady, ErrClosed, ErrOverloaded, ErrDiskFull, ErrBacklog,
// ErrDeadline or those of the store. They all mean that the sender must be asked
// to come back, and never anything about the message. The commit itself does not
// end with ctx.
func (e *Engine) Accept(ctx context.Context, in Inbound) (Receipt, error) {
	s, err := e.ready(ctx)
	if err != nil {
		in.Reservation.Release()
		return Receipt{}, err
	}
	m := in.Message
	if err := s.space.admit(len(m.Request.Body)); err != nil {
		in.Reservation.Release()
		return Receipt{}, err
	}
	m.BodySum = sha256.Sum256(m.Request.Body)
	key := DedupeKey(m.Source, m.VerifiedBy, in.Identity)
	return s.accept(ctx, key, in)
}

// accept commits the message, or waits for the commit of another one with the
// same key that is under way.
func (s *session) accept(ctx context.Context, key store.DedupeKey, in Inbound) (Receipt, error) {
	for {
		f, leads := s.flights.join(key)
		if leads {
			return s.lead(ctx, f, in)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			in.Reservation.Release()
			return Receipt{}, ErrDeadline
		}
		if f.err == nil {
			return s.repeat(in, f.duplicate()), nil
		}
	}
}

// repeat answers a duplicate for which nothing was written.
func (s *session) repeat(in Inbound, r Receipt) Receipt {
	in.Reservation.Release()
	s.engine.observer.Accepted(in.Message.Source, r.Verdict)
	return r
}

// lead commits the message for all who wait on the flight.
func (s *session) lead(ctx context.Context, f *flight, in Inbound) (Receipt, error) {
	if receipt, ok := s.known(ctx, f.key, in); ok {
		s.flights.land(f, receipt, nil)
		return s.repeat(in, receipt), nil
	}
	if err := s.submit(f, in); err != nil {
		in.Reservation.Release()
		s.flights.land(f, Receipt{}, err)
		return Receipt{}, err
	}
	select {
	case <-f.done:
		return f.receipt, f.err
	case <-ctx.Done():
		return Receipt{}, ErrDeadline
	}
}

// submit queues the message for its commit.
func (s *session) submit(f *flight, in Inbound) error {
	size := backlogSize(&in)
	b, err := s.backlogs.admit(in.Message.Source, size, in.ShedLast)
	if err != nil {
		return err
	}
	now := s.engine.clock.Now()
	in.Message.ID = s.engine.ids.next(now)
	if err = s.committer.submit(&entry{flight: f, inbound: in, since: now, backlog: b}); err != nil {
		b.settle(size, false)
	}
	return err
}

// known answers a duplicate of a message that is known to be durable and asks
// for nothing to be written.
func (s *session) known(ctx context.Context, key store.DedupeKey, in Inbound) (Receipt, bool) {
	seen, ok := s.front.get(key)
	if !ok || s.failure() != nil || s.store.Now().Sub(seen.at) >= in.Window {
		return Receipt{}, false
	}
	receipt := Receipt{ID: seen.id, AcceptedAt: seen.at}
	deliveries, err := s.store.Deliveries(ctx, seen.id)
	if errors.Is(err, store.ErrNotFound) {
		receipt.Verdict = store.DuplicatePurged
		return receipt, true
	}
	if err != nil {
		return Receipt{}, false
	}
	dead := false
	for i := range deliveries {
		if deliveries[i].State.Open() {
			receipt.Verdict = store.DuplicateOpen
			return receipt, true
		}
		dead = dead || deliveries[i].State == store.Dead
	}
	receipt.Verdict = store.DuplicateDelivered
	return receipt, !dead && !in.Redeliver
}
