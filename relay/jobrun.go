// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// jobGap is the time between two pages of a job, in which others have the
	// store and what was changed is claimed.
	jobGap = 20 * time.Millisecond

	// haltGap is how often a job looks whether a destination that is down or paused
	// still is.
	haltGap = time.Second
)

// jobRun carries out one job, in one goroutine.
type jobRun struct {
	jobs *jobs
	job  *store.Job
	stop context.CancelFunc
	done chan struct{}

	// moved says that the store does not know yet how far the job has come.
	moved bool

	// taken are the destinations to which the message of that id was replayed.
	message store.MessageID
	taken   []string
}

func newJobRun(js *jobs, job *store.Job) *jobRun {
	return &jobRun{jobs: js, job: job, done: make(chan struct{})}
}

// run works on the job until it ends or ctx does.
func (r *jobRun) run(ctx context.Context) {
	defer close(r.done)
	for ctx.Err() == nil {
		wait, err := r.step(ctx)
		if err != nil && ctx.Err() == nil {
			r.fail(err)
		}
		for err = r.save(); err != nil; err = r.save() {
			r.jobs.session.storeError("keeping how far a job has come", err)
			if !r.jobs.wait(ctx, finishRetry) {
				return
			}
		}
		if r.job.State != store.JobRunning {
			r.tell()
			return
		}
		r.jobs.wait(ctx, wait)
	}
}

// fail ends the job for an error, until an operator resumes it.
func (r *jobRun) fail(err error) {
	s := r.jobs.session
	if errors.Is(err, store.ErrFailed) {
		s.storeError("working on a job", err) // it goes on when the store is back
		return
	}
	r.job.State, r.job.Error, r.moved = store.JobFailed, errorText(err), true
	s.engine.log.Error("job has failed: it can be resumed", zap.String("job", r.job.ID), zap.Error(err))
}

// tell says that the job has ended.
func (r *jobRun) tell() {
	r.jobs.session.engine.log.Info("job has ended", zap.String("job", r.job.ID), zap.String("action", string(r.job.Action)),
		zap.String("state", string(r.job.State)), zap.Uint64("done", r.job.Done), zap.Uint64("skipped", r.job.Skipped))
}

// step takes up one page, and returns how long to wait before the next.
func (r *jobRun) step(ctx context.Context) (time.Duration, error) {
	if r.jobs.session.engine.inForce() == nil {
		return haltGap, nil // nobody can tell yet which destinations there are
	}
	before, after := r.job.Done, r.job.Query.After
	page, err := r.page(ctx)
	if err != nil {
		return 0, err
	}
	r.job.Query.After = after
	var changed []store.Delivery
	defer func() {
		for i := range changed {
			r.jobs.session.changed(&changed[i])
		}
	}()
	for i := range page {
		d := &page[i]
		to, ok, err := r.applies(ctx, d)
		if err != nil {
			return 0, err
		}
		if ok {
			if gap := r.hold(to); gap > 0 {
				return gap, nil
			}
			if r.putOff(to) {
				ok = false
			}
		}
		if ok {
			c, err := r.change(context.WithoutCancel(ctx), d, to)
			if err != nil {
				return 0, err
			}
			if c.State != 0 {
				changed = append(changed, c)
			}
		}
		r.job.Query.After, r.moved = d.ID, true
		if ctx.Err() != nil {
			return 0, nil
		}
	}
	if len(page) < r.limit() {
		return r.next(), nil
	}
	return max(jobGap, r.pace(r.job.Done-before)), nil
}

// limit is how many deliveries are taken up at once: with a rate, those of a
// fifth of a second.
func (r *jobRun) limit() int {
	if r.job.Rate > 0 {
		return min(jobPage, max(1, r.job.Rate/5))
	}
	return jobPage
}

// pace is how long n changes take at the job's rate.
func (r *jobRun) pace(n uint64) time.Duration {
	if r.job.Rate == 0 {
		return 0
	}
	return time.Duration(n) * time.Second / time.Duration(r.job.Rate)
}

// page returns the next deliveries of the present pass, and moves behind them.
func (r *jobRun) page(ctx context.Context) ([]store.Delivery, error) {
	q := r.job.Query
	if r.job.Pass != "" {
		q.Destination = r.job.Pass
	}
	q.Limit = r.limit()
	page, err := r.jobs.session.store.ListDeliveries(ctx, q)
	if len(page) > 0 {
		r.job.Query.After = page[len(page)-1].ID
	}
	return page, err
}

// applies reports whether the job has to change a delivery, and which destination
// is concerned. What came after the job is none of its; neither is a replay of a
// message that is on its way to the destination anyway.
func (r *jobRun) applies(ctx context.Context, d *store.Delivery) (destination string, ok bool, err error) {
	began := r.job.CreatedAt
	if !d.Since.Before(began) {
		return "", false, nil
	}
	if r.job.Action != store.ActionReplay {
		return d.Destination, true, nil
	}
	to := r.job.To
	if to == "" {
		to = d.Destination
	}
	if r.message != d.ID.Message {
		all, err := r.jobs.session.store.Deliveries(ctx, d.ID.Message)
		if errors.Is(err, store.ErrNotFound) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		r.message, r.taken = d.ID.Message, r.taken[:0]
		for i := range all {
			if all[i].State.Open() || !all[i].Since.Before(began) {
				r.taken = append(r.taken, all[i].Destination)
			}
		}
	}
	if slices.Contains(r.taken, to) {
		return "", false, nil
	}
	r.taken = append(r.taken, to)
	return to, true, nil
}

// change does to a delivery what the job is for. The delivery it returns is zero
// where nothing was to be done any more.
func (r *jobRun) change(ctx context.Context, d *store.Delivery, to string) (changed store.Delivery, err error) {
	st := r.jobs.session.store
	switch r.job.Action {
	case store.ActionRedrive:
		changed, err = st.Redrive(ctx, d.ID)
	case store.ActionReplay:
		changed, err = st.Replay(ctx, d.ID.Message, to)
	case store.ActionCancel:
		changed, err = st.Cancel(ctx, d.ID)
	default:
		err = fmt.Errorf("unknown action %q: %w", r.job.Action, store.ErrInvalid)
	}
	if passed(err) {
		r.job.Skipped++
		return store.Delivery{}, nil
	}
	if err == nil {
		r.job.Done++
	}
	return changed, err
}

// save keeps in the store how far the job has come.
func (r *jobRun) save() error {
	if !r.moved {
		return nil
	}
	err := r.jobs.session.store.PutEntity(context.Background(), r.job)
	r.moved = err != nil
	return err
}
