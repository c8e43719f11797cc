// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// turn is what an operator wants of a job. The run of the job carries it out, and
// who wants it waits for that as long as he likes: a store that hangs keeps only the
// run, and no request for another job.
type turn struct {
	// ctx ends when nobody waits for it any more. It is not carried out after that.
	ctx context.Context

	// do carries it out, in the run. Load is the error that the job's record could not
	// be read for.
	do func(ctx context.Context, r *jobRun, load error) error

	// answer takes one.
	answer chan turned
}

// turned is how a turn has ended.
type turned struct {
	job store.Job
	err error
}

// begin keeps a new job and starts it.
func (js *jobs) begin(ctx context.Context, job *store.Job) (store.Job, error) {
	return js.want(ctx, job.ID, func(_ context.Context, r *jobRun, _ error) error { return r.make(ctx, job) })
}

// turn brings a job into another state.
func (js *jobs) turn(ctx context.Context, id string, to store.JobState) (store.Job, error) {
	return js.want(ctx, id, func(ctx context.Context, r *jobRun, load error) error {
		if load != nil {
			return load
		}
		return r.turn(context.WithoutCancel(ctx), to)
	})
}

// forget removes the record of a job that has ended or can not be read.
func (js *jobs) forget(ctx context.Context, id string) error {
	_, err := js.want(ctx, id, func(ctx context.Context, r *jobRun, load error) error {
		return r.forget(context.WithoutCancel(ctx), load)
	})
	return err
}

// want has the run of a job carry out what somebody wants of it.
func (js *jobs) want(ctx context.Context, id string, do func(context.Context, *jobRun, error) error) (store.Job, error) {
	t := &turn{ctx: ctx, do: do, answer: make(chan turned, 1)}
	if !js.post(id, t) {
		return store.Job{}, ErrNotReady
	}
	select {
	case a := <-t.answer:
		return a.job, a.err
	case <-ctx.Done():
		return store.Job{}, fmt.Errorf("job %q: %w", id, ctx.Err())
	}
}

// post gives a turn to the run of a job, unless the session ends.
func (js *jobs) post(id string, t *turn) bool {
	js.mu.Lock()
	defer js.mu.Unlock()
	if js.quit {
		return false
	}
	r := js.runOf(id)
	r.turns = append(r.turns, t)
	if r.cut != nil {
		r.cut()
	}
	return true
}

// begin returns the context of the next step, which ends when somebody wants
// something of the job that is not carried out before it.
func (r *jobRun) begin(ctx context.Context) (step context.Context, over context.CancelFunc) {
	step, over = context.WithCancel(ctx)
	r.jobs.mu.Lock()
	defer r.jobs.mu.Unlock()
	r.cut = over
	return step, over
}

// load reads the job, unless the run has it.
func (r *jobRun) load(ctx context.Context) error {
	if r.job != nil {
		return nil
	}
	job, err := r.jobs.job(ctx, r.id)
	if err == nil {
		r.take(job)
	}
	return err
}

// carry carries out what is wanted of the job. Load is the error that it could not be
// read for; carry returns why there is none after that, where there is none.
func (r *jobRun) carry(ctx context.Context, load error) error {
	r.jobs.mu.Lock()
	turns := r.turns
	r.turns = nil
	r.jobs.mu.Unlock()
	for _, t := range turns {
		if t.ctx.Err() != nil {
			continue
		}
		a := turned{err: t.do(ctx, r, load)}
		switch {
		case r.job != nil:
			load = nil
			if a.err == nil {
				a.job = *r.job
				a.job.Later = slices.Clone(r.job.Later)
			}
		case load == nil:
			load = fmt.Errorf("job %q: %w", r.id, store.ErrNotFound)
		}
		t.answer <- a
	}
	return load
}

// lasting reports whether an error over the record of a job will not go away.
func lasting(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrCorrupt)
}

// make keeps a new job, which is worked on from then on.
func (r *jobRun) make(ctx context.Context, job *store.Job) error {
	earlier, made := r.jobs.announce(job.ID)
	defer made()
	if err := r.jobs.makeRoom(ctx, earlier); err != nil {
		return err
	}
	if err := r.jobs.session.store.PutEntity(ctx, job); err != nil {
		return r.jobs.session.failing("making a job", err)
	}
	r.take(job)
	return nil
}

// turn brings the job into another state.
func (r *jobRun) turn(ctx context.Context, to store.JobState) error {
	if !mayTurn(r.job.State, to) {
		return fmt.Errorf("job %s is %s: %w", r.id, r.job.State, store.ErrState)
	}
	job := *r.job
	job.State = to
	if to == store.JobRunning {
		job.Error = ""
	}
	if to.Ended() {
		job.EndedAt = r.jobs.session.store.Now()
	}
	if err := r.jobs.session.store.PutEntity(ctx, &job); err != nil {
		if lasting(err) { // it is not this run's any more
			r.job, r.moved = nil, false
		}
		return r.jobs.session.failing("changing a job", err)
	}
	*r.job, r.moved = job, false
	return nil
}

// forget removes the record of the job.
func (r *jobRun) forget(ctx context.Context, load error) error {
	switch {
	case load != nil && !errors.Is(load, store.ErrCorrupt):
		return load
	case load == nil && !r.job.State.Ended():
		return fmt.Errorf("job %s is %s, so cancel it first: %w", r.id, r.job.State, store.ErrState)
	}
	key := store.EntityKey{Kind: store.KindJob, ID: r.id}
	if err := r.jobs.session.store.DeleteEntity(ctx, key); err != nil {
		return fmt.Errorf("job %q: %w", r.id, r.jobs.session.failing("forgetting a job", err))
	}
	r.job, r.moved = nil, false
	return nil
}

// leave ends the run, unless something is wanted of the job.
func (r *jobRun) leave() bool {
	r.jobs.mu.Lock()
	defer r.jobs.mu.Unlock()
	if len(r.turns) > 0 || r.again {
		r.again = false
		return false
	}
	r.jobs.drop(r)
	return true
}

// dismiss ends the run with the session.
func (r *jobRun) dismiss() {
	r.jobs.mu.Lock()
	defer r.jobs.mu.Unlock()
	for _, t := range r.turns {
		t.answer <- turned{err: ErrNotReady}
	}
	r.turns = nil
	if r.jobs.running[r.id] == r { // another may have begun since
		r.jobs.drop(r)
	}
}

// drop forgets a run. The caller has the lock.
func (js *jobs) drop(r *jobRun) {
	delete(js.running, r.id)
	delete(js.holds, r.id)
}
