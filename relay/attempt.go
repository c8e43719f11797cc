// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// loadRetry is how long a delivery waits that the store was not there for.
const loadRetry = 5 * time.Second

// attempt makes one attempt, records what came of it and gives the slot back. It
// returns the attempt that follows, if there is one: the worker that is awake
// anyway goes on with it.
func (d *dispatcher) attempt(a action) (next action, more bool) {
	t, j := a.target, a.leased
	if j.waiter == nil {
		j.waiter = d.waiters.take(j.delivery.ID)
	}
	noted := journalID(j.delivery.ID)
	place := d.session.journal.Begin(noted)
	found, later := d.inLane(t, j)
	d.session.journal.End(place, noted)
	j.waiter.settle(false) // unless it has got its answer
	j.hold.drop()
	j.over()
	var space [8]action
	actions := d.decide(event{kind: attemptEnded, destination: t.ID, slot: j.slot, found: found, later: later}, space[:0])
	for i := range actions {
		if actions[i].kind == startAttempt && !more {
			next, more = actions[i], true
			continue
		}
		d.perform(actions[i])
	}
	return next, more
}

// try makes one attempt and returns what it tells about the destination, and how
// long that has asked to be left alone.
func (d *dispatcher) try(t *target, j *leased) (found condition, later time.Duration) {
	message, err := d.load(j)
	started := d.clock.Now()
	var result Result
	switch {
	case err == nil:
		result = d.deliver(t, j, message)
	case errors.Is(err, store.ErrCorrupt):
		result = Result{Outcome: store.Quarantined, Err: err}
		t.alert.Error("stored message is not what was accepted and will not be delivered",
			zap.Stringer("message", j.delivery.ID.Message), zap.Error(err))
	case errors.Is(err, store.ErrNotFound):
		return unknown, 0
	default:
		d.session.storeError("loading a message", err)
		d.putOff(j)
		return unknown, 0
	}
	now := d.clock.Now()
	// The age is told by the clock by which the delivery was written.
	age := d.session.store.Age(j.delivery.Since)
	finish, counts := conclude(t, &j.delivery, result, started, now, age)
	d.report(t, j, message, result, finish)
	if !counts {
		finish.Attempt = nil
	} else if d.session.space.now() != DiskAmple {
		finish.Attempt.Head = nil
	}
	d.session.finisher.add(record{finish: finish, destination: t.ID, ordered: j.delivery.Place != 0})
	return conditionOf(result), result.RetryAfter
}

// putOff has a delivery wait that could not be tried because of the store.
func (d *dispatcher) putOff(j *leased) {
	d.session.finisher.add(record{finish: store.Finish{
		Lease: j.delivery.Lease(), State: store.Waiting, Delay: retry.Jitter(loadRetry, seed(&j.delivery)),
	}})
}

// load returns the message of a delivery, intact.
func (d *dispatcher) load(j *leased) (*store.Message, error) {
	var message *store.Message
	if j.hold != nil {
		message = j.hold.message
	} else {
		var err error
		if message, err = d.session.store.Message(context.Background(), j.delivery.ID.Message); err != nil {
			return nil, err
		}
	}
	if !message.Intact() {
		return nil, fmt.Errorf("checking the body: %w: its SHA-256 has changed", store.ErrCorrupt)
	}
	return message, nil
}

// deliver calls the deliverer behind a fence: a panic in one attempt must not
// end the process and with it all others.
func (d *dispatcher) deliver(t *target, j *leased, m *store.Message) (result Result) {
	ctx, cancel := context.WithTimeout(d.session.attempts, t.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			result = Result{Outcome: store.Broken, Err: fmt.Errorf("panic: %v", p)}
		}
		j.waiter.settle(result.Outcome == store.Succeeded)
	}()
	result = t.Deliverer.Deliver(ctx, Attempt{Message: m, Delivery: j.delivery, Number: j.delivery.Attempts + 1, Waiter: j.waiter})
	return result.checked(d.session.attempts.Err() != nil)
}

// checked corrects the outcome where it does not fit what the engine knows. An
// attempt that the shutdown left without an answer was cut off by it, and only
// the shutdown cuts attempts off: one that said so without a reason would be
// repeated at once and for ever.
func (r Result) checked(shutdown bool) Result {
	switch {
	case shutdown && r.Outcome != store.Succeeded && r.Status == 0:
		r.Outcome = store.Aborted
	case !shutdown && r.Outcome == store.Aborted, r.Outcome == 0:
		r.Outcome = store.Broken
	}
	return r
}

// report tells the observer and the operator how an attempt ended.
func (d *dispatcher) report(t *target, j *leased, m *store.Message, r Result, f store.Finish) {
	d.session.engine.observer.Attempted(AttemptReport{
		Destination: t.ID, Outcome: r.Outcome, Status: r.Status, Duration: f.Attempt.Duration, Next: f.State,
	})
	log, level, text := t.log, zapcore.WarnLevel, "attempt failed"
	switch {
	case f.State == store.Delivered:
		level, text = zapcore.DebugLevel, "delivered"
	case f.State == store.Dead && f.Hold:
		log, level = t.alert, zapcore.ErrorLevel
		text = "delivery is dead, and all with its order key wait until it is re-driven, canceled or deleted"
	case f.State == store.Dead:
		log, level, text = t.alert, zapcore.ErrorLevel, "delivery is dead"
	case r.Outcome == store.Aborted:
		level, text = zapcore.InfoLevel, "attempt was cut off by the shutdown"
	}
	entry := log.Check(level, text)
	if entry == nil {
		return
	}
	fields := []zap.Field{
		zap.Stringer("message", j.delivery.ID.Message), zap.Uint32("attempt", j.delivery.Attempts+1),
		zap.Stringer("outcome", r.Outcome), zap.Int("status", r.Status), zap.Duration("duration", f.Attempt.Duration),
	}
	if m != nil {
		fields = append(fields, zap.String("event_id", m.EventID), zap.Time("received_at", m.ReceivedAt))
	}
	if r.Err != nil {
		fields = append(fields, zap.String("error", f.Attempt.Error))
	}
	if f.State == store.Waiting {
		fields = append(fields, zap.Duration("next_attempt_in", f.Delay))
	}
	entry.Write(fields...)
}
