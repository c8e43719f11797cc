// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"slices"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// change is what a job does to one delivery.
type change struct {
	operation store.Operation
	// removed are the deliveries of the message, where that is deleted.
	removed []store.Delivery
}

// applies reports whether the job has to change a delivery, how, and which
// destination is concerned. What came after the job is none of its.
func (r *jobRun) applies(ctx context.Context, d *store.Delivery) (c change, destination string, ok bool, err error) {
	if !r.precedes(d) {
		return change{}, "", false, nil
	}
	c = change{operation: store.Operation{Action: r.job.Action, Delivery: d.ID}}
	switch r.job.Action {
	case store.ActionReplay:
		c.operation.To, ok, err = r.replays(ctx, d)
		return c, c.operation.To, ok, err
	case store.ActionDelete:
		c.removed, ok, err = r.deletes(ctx, d)
		return c, d.Destination, ok, err
	default:
		return c, d.Destination, true, nil
	}
}

// precedes reports whether a delivery was made before the job, and not re-driven
// after it. One that has come to the head of its lane since then is none that is new.
func (r *jobRun) precedes(d *store.Delivery) bool {
	since := d.Since
	if d.State.Open() && d.Place != 0 && d.Generation == 0 {
		since = d.CreatedAt
	}
	return since.Before(r.job.CreatedAt)
}

// replays returns where the message of a delivery is to be replayed to, and
// whether it is: not if it is on its way there anyway.
func (r *jobRun) replays(ctx context.Context, d *store.Delivery) (to string, ok bool, err error) {
	if to = r.job.To; to == "" {
		to = d.Destination
	}
	if ok, err = r.look(ctx, d.ID.Message); err != nil || !ok || slices.Contains(r.taken, to) {
		return to, false, err
	}
	r.taken = append(r.taken, to)
	return to, true, nil
}

// deletes returns all deliveries of the message of a delivery, and whether it is
// deleted: not before its last selected delivery, and not if another one may still
// be delivered, because it is open, or dead and not selected.
func (r *jobRun) deletes(ctx context.Context, d *store.Delivery) (all []store.Delivery, ok bool, err error) {
	if ok, err = r.look(ctx, d.ID.Message); err != nil || !ok {
		return nil, false, err
	}
	q := &r.job.Query
	for i := range r.all {
		o := &r.all[i]
		selected := (q.Destination == "" || q.Destination == o.Destination) && (q.State == 0 || q.State == o.State)
		if o.State.Open() || !o.Since.Before(r.job.CreatedAt) || o.State == store.Dead && !selected || selected && o.ID.N > d.ID.N {
			return nil, false, nil
		}
	}
	return r.all, true, nil
}

// look reads the deliveries of a message into all, unless it was the last one, and
// reports whether it is there.
func (r *jobRun) look(ctx context.Context, id store.MessageID) (ok bool, err error) {
	if r.message == id {
		return true, nil
	}
	all, err := r.jobs.session.store.Deliveries(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.message, r.all, r.taken = id, all, r.taken[:0]
	for i := range all {
		if all[i].State.Open() || !all[i].Since.Before(r.job.CreatedAt) {
			r.taken = append(r.taken, all[i].Destination)
		}
	}
	return true, nil
}
