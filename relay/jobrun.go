// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// jobGap is the time between two pages of a job, in which others have the
	// store and what was changed is claimed: a page takes the store for as long.
	jobGap = 10 * time.Millisecond

	// haltGap is how often a job looks whether a destination that is down or paused
	// still is.
	haltGap = time.Second
)

// jobRun is the one goroutine that has a job: it works on it, and carries out what
// operators want of it in between.
type jobRun struct {
	jobs *jobs
	id   string
	job  *store.Job // nil before it was read

	// What follows is guarded by the lock of jobs: what operators want, what ends the
	// step or the wait under way, and that the job is to be looked at once more.
	turns []*turn
	cut   context.CancelFunc
	again bool

	// moved says that the store does not know yet how far the job has come.
	moved bool

	// ahead is what the store keeps of one page for the next.
	ahead *store.Ahead

	// message is the one whose deliveries were looked at last, all of them, and taken
	// the destinations to which nothing of it is to be replayed any more.
	message store.MessageID
	all     []store.Delivery
	taken   []string

	// group are the changes that are committed next.
	group []change

	// lagging is the destination that the job waits for while enough is due for it.
	lagging string
}

func newJobRun(js *jobs, id string) *jobRun { return &jobRun{jobs: js, id: id} }

// take has the run be about a job.
func (r *jobRun) take(job *store.Job) {
	r.job, r.moved = job, false
	r.ahead, r.message, r.lagging = new(store.Ahead), store.MessageID{}, ""
}

// run lasts until there is nothing to do any more, or ctx ends.
func (r *jobRun) run(ctx context.Context) {
	defer r.dismiss()
	for ctx.Err() == nil {
		step, over := r.begin(ctx)
		err := r.carry(ctx, r.load(ctx))
		switch {
		case r.job != nil && (r.job.State == store.JobRunning || r.moved):
			r.work(step)
		case r.job == nil && ctx.Err() == nil && !lasting(err):
			r.jobs.session.storeError("reading a job", err)
			r.jobs.wait(step, finishRetry)
		case r.leave():
			over()
			return
		}
		over()
	}
}

// work takes one step, keeps in the store how far the job has come, and waits until
// the next one. It is cut short when somebody wants something of the job.
func (r *jobRun) work(ctx context.Context) {
	var wait time.Duration
	if !r.moved {
		var err error
		if wait, err = r.step(ctx); err != nil && ctx.Err() == nil {
			r.fail(err)
			wait = haltGap
		}
	}
	switch err := r.save(); {
	case lasting(err):
		r.jobs.session.engine.log.Error("job stops: its record is not what it was", zap.String("job", r.id), zap.Error(err))
		r.job, r.moved = nil, false
		return
	case err != nil:
		r.jobs.session.storeError("keeping how far a job has come", err)
		wait = finishRetry
	case r.job.State != store.JobRunning:
		r.tell()
		return
	}
	r.jobs.wait(ctx, wait)
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
	if d := r.jobs.session.dispatcher; r.lagging != "" && d.lags(r.lagging) && !d.halts(r.lagging) {
		return jobGap, nil
	}
	// Others may have changed the message that the last page ended in.
	r.lagging, r.message = "", store.MessageID{}
	before, after := r.job.Done, r.job.Query.After
	page, err := r.page(ctx)
	if err != nil {
		return 0, err
	}
	r.job.Query.After = after
	n, waitsFor, err := r.gather(ctx, page)
	if err == nil {
		err = r.commit(context.WithoutCancel(ctx))
	}
	if err != nil {
		return 0, err
	}
	if n > 0 {
		r.job.Query.After, r.moved = page[n-1].ID, true
	}
	switch {
	case waitsFor != "":
		return r.hold(waitsFor), nil
	case len(page) < r.limit():
		return r.next(), nil
	default:
		r.jobs.note(r.job.ID, "")
		return max(jobGap, r.pace(r.job.Done-before)), nil
	}
}

// gather makes a group of what is to be done to a page. It stops before a
// delivery whose destination has to be waited for, and returns how many of the
// page it has come past.
func (r *jobRun) gather(ctx context.Context, page []store.Delivery) (n int, waitsFor string, err error) {
	r.group = r.group[:0]
	for i := range page {
		c, to, ok, err := r.applies(ctx, &page[i])
		if err != nil {
			return i, "", err
		}
		if !ok {
			continue
		}
		if r.gap(to) > 0 {
			return i, to, nil
		}
		if !r.putOff(to) {
			r.group = append(r.group, c)
		}
	}
	return len(page), "", nil
}

// commit does what the group says, in one commit, and tells the dispatcher.
func (r *jobRun) commit(ctx context.Context) error {
	if len(r.group) == 0 {
		return nil
	}
	s := r.jobs.session
	batch := make([]store.Operation, len(r.group))
	for i := range r.group {
		batch[i] = r.group[i].operation
	}
	answers, err := s.store.Operate(ctx, batch)
	if err != nil {
		return err
	}
	for i := range answers {
		switch a := &answers[i]; {
		case passed(a.Err):
			r.job.Skipped++
		case a.Err != nil:
			r.job.Skipped++
			s.engine.log.Error("job leaves out what can not be changed", zap.String("job", r.job.ID),
				zap.Stringer("delivery", batch[i].Delivery), zap.Error(a.Err))
		default:
			r.job.Done++
			s.operated(a, r.group[i].removed)
		}
	}
	r.moved = true
	return nil
}

// operated tells the dispatcher what an operation has changed.
func (s *session) operated(a *store.Operated, removed []store.Delivery) {
	if a.Delivery.State != 0 {
		s.changed(&a.Delivery)
	}
	for i := range removed {
		s.revoke(&removed[i])
	}
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
	q.Limit, q.Ahead = r.limit(), r.ahead
	page, err := r.jobs.session.store.ListDeliveries(ctx, q)
	if len(page) > 0 {
		r.job.Query.After = page[len(page)-1].ID
	}
	return page, err
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
