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
	return s.accept(ctx, &entry{flight: newFlight(DedupeKey(m.Source, m.VerifiedBy, in.Identity)), inbound: in})
}

// accept commits the message, or waits for the commit of another one with the
// same key that is under way.
func (s *session) accept(ctx context.Context, e *entry) (Receipt, error) {
	for {
		f, leads := s.flights.join(&e.flight)
		if leads {
			return s.lead(ctx, e)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			e.inbound.Reservation.Release()
			return Receipt{}, ErrDeadline
		}
		if f.err == nil {
			return s.repeat(&e.inbound, f.duplicate()), nil
		}
	}
}

// repeat answers a duplicate for which nothing was written.
func (s *session) repeat(in *Inbound, r Receipt) Receipt {
	in.Reservation.Release()
	s.engine.observer.Accepted(in.Message.Source, r.Verdict, 1)
	return r
}

// lead commits the message for all who wait on its flight.
func (s *session) lead(ctx context.Context, e *entry) (Receipt, error) {
	f := &e.flight
	if receipt, ok := s.known(ctx, f.key, &e.inbound); ok {
		s.flights.land(f, receipt, nil)
		return s.repeat(&e.inbound, receipt), nil
	}
	if err := s.submit(e); err != nil {
		e.inbound.Reservation.Release()
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
func (s *session) submit(e *entry) error {
	size := backlogSize(&e.inbound)
	b, err := s.backlogs.admit(e.inbound.Message.Source, size, e.inbound.ShedLast)
	if err != nil {
		return err
	}
	e.since, e.backlog = s.engine.clock.Now(), b
	if err = s.committer.submit(e); err != nil {
		b.settle(size, false)
	}
	return err
}

// known answers a duplicate of a message that is known to be durable and asks
// for nothing to be written.
func (s *session) known(ctx context.Context, key store.DedupeKey, in *Inbound) (Receipt, bool) {
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
