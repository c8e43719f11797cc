// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/journal"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// poisonStrikes is how often the process must have died of a delivery.
	poisonStrikes = 3

	// trialPatience is how long one suspect is left alone after one crash; it doubles
	// with each further one in a row, up to trialDoublings times. All together have
	// trialShare times as long, so that a crash that was nobody's fault holds nothing
	// up for long: what was not tried by then is not struck either, and has its turn
	// after the next crash, when the others are not suspect any more.
	trialPatience  = 500 * time.Millisecond
	trialDoublings = 6
	trialShare     = 10
)

// trial tries deliveries that were under way when the process died one at a time,
// before anything else is delivered. A delivery of which the process dies again
// is then known, and after so many times it is given up.
type trial struct {
	session  *session
	journal  *journal.Journal
	suspects []journal.Suspect
	once     sync.Once
}

// openJournal opens the journal beside a store, nil where there is no place for it.
func (e *Engine) openJournal(st store.Store) *journal.Journal {
	path := st.Caps().Journal
	if path == "" {
		return nil
	}
	j, err := journal.Open(path, e.instance)
	if err != nil {
		e.log.Warn("there is no journal: a message that brings the process down will not be found out", zap.Error(err))
	}
	return j
}

func newTrial(s *session, j *journal.Journal) *trial {
	t := &trial{session: s, journal: j, suspects: j.Suspects()}
	s.dispatcher.scheduler.trying = len(t.suspects) > 0
	return t
}

// begin begins the trial, if there is something to try, and it has not begun.
func (t *trial) begin() {
	if len(t.suspects) == 0 {
		return
	}
	t.once.Do(func() {
		if t.session.dispatcher.busy() {
			go t.run()
		}
	})
}

// run tries all suspects, the most suspect first.
func (t *trial) run() {
	s := t.session
	defer s.dispatcher.claims.Done()
	defer s.dispatcher.post(event{kind: trialEnded})
	crashes := t.journal.Crashes()
	s.engine.log.Warn("the last process died with deliveries under way: they are tried first and alone",
		zap.Int("deliveries", len(t.suspects)), zap.Int("deaths_in_a_row", crashes))
	patience := trialPatience << min(max(crashes-1, 0), trialDoublings)
	end := s.engine.clock.Now().Add(trialShare * patience)
	for _, suspect := range t.suspects {
		left := end.Sub(s.engine.clock.Now())
		if left <= 0 || !s.dispatcher.working() {
			return
		}
		if err := t.try(suspect, min(patience, left)); err != nil {
			s.storeError("trying what was under way", err)
			return
		}
	}
}

// try tries one suspect and waits until that is over, or patience is.
func (t *trial) try(suspect journal.Suspect, patience time.Duration) error {
	s, ctx := t.session, context.Background()
	id := store.DeliveryID{Message: store.MessageID(suspect.ID.Message), N: suspect.ID.N}
	d, err := t.find(ctx, id)
	if err != nil {
		return err
	}
	if d == nil {
		t.journal.Clear(suspect.ID)
		return nil
	}
	target := s.dispatcher.target(d.Destination)
	if target == nil {
		return nil
	}
	claimed, err := s.store.ClaimByID(ctx, id, leaseForever)
	if errors.Is(err, store.ErrState) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("claiming: %w", err)
	}
	j := &leased{delivery: claimed, tried: make(chan struct{})}
	if suspect.Strikes >= poisonStrikes {
		t.giveUp(target, j, suspect)
		return nil
	}
	s.dispatcher.post(event{kind: putOnTrial, destination: target.ID, leased: j})
	over, stop := timer(s.engine.clock, patience)
	defer stop()
	select {
	case <-j.tried:
	case <-over:
	case <-s.failed:
	case <-s.closing:
	}
	return nil
}

// find returns a delivery, nil for one that is not open any more.
func (t *trial) find(ctx context.Context, id store.DeliveryID) (*store.Delivery, error) {
	all, err := t.session.store.Deliveries(ctx, id.Message)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for it: %w", err)
	}
	for i := range all {
		if all[i].ID == id && all[i].State.Open() {
			return &all[i], nil
		}
	}
	return nil, nil
}

// giveUp makes a delivery dead of which the process has died too often.
func (t *trial) giveUp(target *target, j *leased, suspect journal.Suspect) {
	s := t.session
	result := Result{
		Outcome: store.Poisoned,
		Err:     fmt.Errorf("poison: the process died %d times while nothing but this delivery was under way", suspect.Strikes),
	}
	now := s.engine.clock.Now()
	finish, _ := conclude(target, &j.delivery, result, now, now, 0)
	s.dispatcher.report(target, j, nil, result, finish)
	// Not before: the process may die of the next one first.
	known := func() { t.journal.Clear(suspect.ID) }
	s.finisher.add(record{finish: finish, destination: target.ID, ordered: j.delivery.Place != 0, then: known})
}

// journalID is how the journal names a delivery.
func journalID(id store.DeliveryID) journal.ID { return journal.ID{Message: id.Message, N: id.N} }
