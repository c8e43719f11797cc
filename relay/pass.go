// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// mostKeeping bounds the keys that wait for their commit. Each is of a request that
// somebody has answered already, so that nothing more passes beyond it.
const mostKeeping = 1024

// Pass is a request that is not accepted but goes on to someone who answers it at
// once. Nothing of it is stored but its dedupe key, once it has got its 2xx. Keep
// or Drop must end it; they must not be called by two goroutines at once.
type Pass struct {
	session *session
	flight  *flight // nil without a key
	id      store.MessageID
	source  string
	window  time.Duration
	ended   bool
}

// Pass lets a request pass, unless its dedupe key is known within window: then
// there is no Pass, and the receipt says what it is a duplicate of. While a
// request with the same key is on its way, another one waits for how that ends,
// until ctx ends, and takes its place if it gets no 2xx.
//
// It sets the ID of m, by which the request is known to who answers it: the same
// for all requests with one key. The errors are those of Accept.
func (e *Engine) Pass(ctx context.Context, m *store.Message, identity [][]byte, window time.Duration) (*Pass, Receipt, error) {
	key := DedupeKey(m.Source, m.VerifiedBy, identity)
	if key.IsZero() {
		m.ID = e.ids.next(e.clock.Now())
		return new(Pass), Receipt{}, nil
	}
	s, err := e.ready(ctx)
	if err != nil {
		return nil, Receipt{}, err
	}
	// Its key could not be kept, and nothing has happened yet.
	if err := s.space.admit(0); err != nil {
		return nil, Receipt{}, err
	}
	if s.keeping.Load() >= mostKeeping {
		return nil, Receipt{}, ErrOverloaded
	}
	m.ID = store.MessageID(key)
	own := newFlight(key)
	for {
		f, leads := s.flights.join(&own)
		if leads {
			return s.pass(ctx, &Pass{session: s, flight: f, id: m.ID, source: m.Source, window: window})
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, Receipt{}, ErrDeadline
		}
		if f.err == nil {
			receipt := f.duplicate()
			e.observer.Accepted(m.Source, receipt.Verdict, 1)
			return nil, receipt, nil
		}
	}
}

// pass looks whether the key of a request that leads its flight is known.
func (s *session) pass(ctx context.Context, p *Pass) (*Pass, Receipt, error) {
	seen, err := s.sighting(ctx, p.flight.key, p.window)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return p, Receipt{}, nil
	case err != nil:
		p.land(Receipt{}, err)
		return nil, Receipt{}, err
	}
	receipt := Receipt{ID: seen.id, Verdict: store.DuplicateDelivered, AcceptedAt: seen.at}
	p.land(receipt, nil)
	s.engine.observer.Accepted(p.source, receipt.Verdict, 1)
	return nil, receipt, nil
}

// sighting returns what a key stands for, or an error that wraps
// store.ErrNotFound.
func (s *session) sighting(ctx context.Context, key store.DedupeKey, window time.Duration) (sighting, error) {
	if seen, ok := s.front.get(key); ok && s.failure() == nil && s.store.Now().Sub(seen.at) < window {
		return seen, nil
	}
	kept, err := s.store.Recall(ctx, key, window)
	switch {
	case err == nil:
		s.front.add(key, kept.Message, kept.AcceptedAt)
		return sighting{id: kept.Message, at: kept.AcceptedAt}, nil
	case errors.Is(err, store.ErrNotFound):
		return sighting{}, err
	case ctx.Err() != nil && !errors.Is(err, store.ErrFailed):
		return sighting{}, ErrDeadline
	default:
		s.storeError("looking for a dedupe key", err)
		return sighting{}, fmt.Errorf("looking for a dedupe key: %w", err)
	}
}

// Keep makes the key of a request that is about to get its 2xx durable, and
// returns nil when it is: only then may the 2xx go out. ErrDeadline says that ctx
// ended first. The key may still become durable; a later request with it will be
// told which it is.
func (p *Pass) Keep(ctx context.Context) error {
	if p.ended || p.flight == nil {
		return nil
	}
	p.ended = true
	p.session.keeping.Add(1)
	// The commit does not end with ctx.
	go p.remember(context.WithoutCancel(ctx))
	select {
	case <-p.flight.done:
		return p.flight.err
	case <-ctx.Done():
		return ErrDeadline
	}
}

// remember commits the key and lands the flight. Once the session has failed,
// others may pass under the same key on the one that follows it.
func (p *Pass) remember(ctx context.Context) {
	s := p.session
	defer s.keeping.Add(-1)
	seen, err := s.store.Remember(ctx, p.flight.key, p.id, p.window)
	if failure := s.failure(); failure != nil {
		p.land(Receipt{}, failure)
		return
	}
	if err != nil {
		s.storeError("remembering a dedupe key", err)
		p.land(Receipt{}, fmt.Errorf("remembering a dedupe key: %w", err))
		return
	}
	s.front.add(p.flight.key, seen.Message, seen.AcceptedAt)
	p.land(Receipt{ID: seen.Message, Verdict: store.DuplicateDelivered, AcceptedAt: seen.AcceptedAt}, nil)
}

// Drop ends a request that got no 2xx: its key is not kept. It does nothing after
// Keep.
func (p *Pass) Drop() {
	if p.ended || p.flight == nil {
		return
	}
	p.ended = true
	p.land(Receipt{}, errDropped)
}

func (p *Pass) land(r Receipt, err error) { p.session.flights.land(p.flight, r, err) }
