// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"time"
)

// hastenBatch is how many deliveries are made due at once.
const hastenBatch = 1000

// rescue brings deliveries that wait for their next attempt back before that is
// due: one at a time to probe a destination that is down, when nothing else is
// there to probe it with, and all of them once it is back.
type rescue struct {
	// waits says that the store may hold deliveries that wait.
	waits bool

	// back says that the destination is back and all of them are to be made due.
	back bool

	// under says that deliveries are being made due.
	under bool

	// notBefore is when that may be done again. A destination that has asked for
	// time gets it, unless there is something else to probe it with.
	notBefore time.Time
}

// putOff has nothing be done before t.
func (r *rescue) putOff(t time.Time) {
	if t.After(r.notBefore) {
		r.notBefore = t
	}
}

// turned notes that the destination is back, or that it is down.
func (r *rescue) turned(back bool) {
	r.back = back
	r.notBefore = time.Time{}
}

// seenHealthy notes that a health check has found the destination up again. If
// it is down it is probed at once, with a real delivery: a check tells that
// something answers, and only an attempt that deliveries are taken. If it is not,
// all that waits is made due.
func (q *queue) seenHealthy(now time.Time) {
	q.rescue.notBefore = time.Time{}
	if q.breaker.open {
		q.breaker.retry(now)
	} else {
		q.rescue.back = true
	}
}

// begin returns how many deliveries to make due now, 0 for none.
func (q *queue) begin(now time.Time) int {
	r := &q.rescue
	if r.under || now.Before(r.notBefore) {
		return 0
	}
	var limit int
	switch {
	case r.back:
		r.back, limit = false, hastenBatch
	case q.wantsProbe() && !q.stored && !q.claiming && q.breaker.allow(now, 1) > 0:
		r.notBefore, limit = now.Add(probeEvery), 1
	default:
		return 0
	}
	// What begins to wait from now on says so itself.
	r.under, r.waits = true, false
	return limit
}

// wantsProbe reports whether the destination is down and can only be probed with
// a delivery that waits.
func (q *queue) wantsProbe() bool { return q.breaker.open && q.waiting() == 0 && q.rescue.waits }

// hastened notes that deliveries were made due, or that it failed.
func (q *queue) hastened(now time.Time, ev event) {
	r := &q.rescue
	r.under = false
	if ev.count > 0 {
		q.stored, r.waits = true, true
	}
	if ev.err != nil {
		r.waits, r.back = true, !q.breaker.open
		r.putOff(now.Add(claimRetry))
	}
}

// probeTime returns when the breaker or the rescue of the queue has something to
// do by itself, zero for never.
func (q *queue) probeTime() time.Time {
	r := &q.rescue
	switch {
	case r.back:
		return r.notBefore
	case q.breaker.open && q.waiting() > 0:
		return q.breaker.probeAt
	case q.wantsProbe() && r.notBefore.After(q.breaker.probeAt):
		return r.notBefore
	case q.wantsProbe():
		return q.breaker.probeAt
	default:
		return time.Time{}
	}
}

// hasten makes deliveries of a target due: one, or in steps all of them.
func (d *dispatcher) hasten(t *target, limit int) {
	defer d.claims.Done()
	ended := event{kind: hastenEnded, destination: t.ID}
	if limit > 1 {
		// All are meant, and what has failed just now is not stored as waiting yet.
		d.session.pause(2 * finishDelay)
	}
	for {
		n, err := d.session.store.Hasten(context.Background(), t.ID, limit)
		ended.count += n
		if ended.err = err; err != nil {
			d.session.storeError("making deliveries due that wait", err)
			break
		}
		if n < hastenBatch || d.session.over() {
			break
		}
		d.post(event{kind: becameStored, destination: t.ID})
	}
	d.post(ended)
}
