// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// jobs are the jobs of a session.
type jobs struct {
	session *session
	life    context.Context
	end     context.CancelFunc

	// turning is held while a job is made or its state is changed by an operator.
	turning sync.Mutex

	mu      sync.Mutex
	quit    bool
	running map[string]*jobRun
	holds   map[string]string // what a running job waits for
	workers sync.WaitGroup
}

func newJobs(s *session) *jobs {
	js := &jobs{session: s, running: make(map[string]*jobRun), holds: make(map[string]string)}
	js.life, js.end = context.WithCancel(context.Background())
	return js
}

// resume goes on with the jobs that were running when the store was closed.
func (js *jobs) resume(ctx context.Context) {
	js.turning.Lock()
	defer js.turning.Unlock()
	all, err := js.all(ctx)
	if err != nil {
		js.session.engine.log.Error("reading the jobs", zap.Error(js.session.failing("reading the jobs", err)))
		return
	}
	for _, job := range all {
		if job.State == store.JobRunning && !js.works(job.ID) { // it may have been made since
			js.session.engine.log.Info("going on with a job", zap.String("job", job.ID), zap.String("action", string(job.Action)),
				zap.Uint64("done", job.Done))
			js.start(job)
		}
	}
}

// all reads all jobs, oldest first.
func (js *jobs) all(ctx context.Context) ([]*store.Job, error) {
	var all []*store.Job
	q := store.EntityQuery{Kind: store.KindJob, Limit: keptJobs}
	for {
		page, err := js.session.store.ListEntities(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if job, ok := e.(*store.Job); ok {
				all = append(all, job)
			}
			q.After = e.Key().ID
		}
		if len(page) < q.Limit {
			return all, nil
		}
	}
}

// begin keeps a new job and starts it.
func (js *jobs) begin(ctx context.Context, job *store.Job) (store.Job, error) {
	js.turning.Lock()
	defer js.turning.Unlock()
	if err := js.makeRoom(ctx); err != nil {
		return store.Job{}, err
	}
	if err := js.session.store.PutEntity(ctx, job); err != nil {
		return store.Job{}, js.session.failing("making a job", err)
	}
	made := *job
	js.start(job)
	return made, nil
}

// makeRoom forgets the oldest jobs that have ended, and refuses more that have
// not than can be looked after.
func (js *jobs) makeRoom(ctx context.Context) error {
	all, err := js.all(ctx)
	if err != nil {
		return js.session.failing("reading the jobs", err)
	}
	alive := 0
	for _, job := range all {
		if !job.State.Ended() {
			alive++
		}
	}
	if alive >= maxJobs {
		return fmt.Errorf("%d jobs have not ended: %w", alive, ErrTooManyJobs)
	}
	for i, extra := 0, len(all)-keptJobs+1; i < len(all) && extra > 0; i++ {
		if !all[i].State.Ended() {
			continue
		}
		if err := js.session.store.DeleteEntity(ctx, all[i].Key()); err != nil {
			return js.session.failing("forgetting a job", err)
		}
		extra--
	}
	return nil
}

// start has a job worked on, unless the session ends.
func (js *jobs) start(job *store.Job) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if js.quit {
		return
	}
	ctx, stop := context.WithCancel(js.life)
	r := newJobRun(js, job)
	r.stop = stop
	js.running[job.ID] = r
	js.workers.Go(func() {
		defer stop()
		r.run(ctx)
		js.mu.Lock()
		defer js.mu.Unlock()
		if js.running[job.ID] == r { // it may have been resumed since
			delete(js.running, job.ID)
			delete(js.holds, job.ID)
		}
	})
}

// works reports whether a job is worked on.
func (js *jobs) works(id string) bool {
	js.mu.Lock()
	defer js.mu.Unlock()
	r := js.running[id]
	if r == nil {
		return false
	}
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// halt stops a job that is worked on, where it stands, and returns when it has. If
// nobody waits for that any more the job goes on.
func (js *jobs) halt(ctx context.Context, id string) error {
	js.mu.Lock()
	r := js.running[id]
	js.mu.Unlock()
	if r == nil {
		return nil
	}
	r.stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		js.goOnAfter(r)
		return ctx.Err()
	}
}

// goOnAfter goes on with a job that was told to stop, once it has.
func (js *jobs) goOnAfter(r *jobRun) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if js.quit {
		return
	}
	js.workers.Go(func() {
		<-r.done
		js.turning.Lock()
		defer js.turning.Unlock()
		if !js.works(r.job.ID) {
			js.goOn(r.job.ID)
		}
	})
}

// turn brings a job into another state.
func (js *jobs) turn(ctx context.Context, id string, to store.JobState) (store.Job, error) {
	js.turning.Lock()
	defer js.turning.Unlock()
	if to != store.JobRunning {
		if err := js.halt(ctx, id); err != nil {
			return store.Job{}, err
		}
	}
	ctx = context.WithoutCancel(ctx) // what was halted does not stay so for a caller who has gone
	job, err := js.job(ctx, id)
	if err != nil {
		return store.Job{}, err
	}
	if !mayTurn(job.State, to) {
		return store.Job{}, fmt.Errorf("job %s is %s: %w", id, job.State, store.ErrState)
	}
	job.State = to
	if to == store.JobRunning {
		job.Error = ""
	}
	if to.Ended() {
		job.EndedAt = js.session.store.Now()
	}
	if err := js.session.store.PutEntity(ctx, job); err != nil {
		js.goOn(id)
		return store.Job{}, js.session.failing("changing a job", err)
	}
	turned := *job
	if to == store.JobRunning {
		js.start(job)
	}
	return turned, nil
}

// goOn goes on with a job that was halted and has stayed as it was.
func (js *jobs) goOn(id string) {
	job, err := js.job(js.life, id)
	if err == nil && job.State == store.JobRunning {
		js.start(job)
	}
}

// job reads a job.
func (js *jobs) job(ctx context.Context, id string) (*store.Job, error) {
	e, err := js.session.store.Entity(ctx, store.EntityKey{Kind: store.KindJob, ID: id})
	if err != nil {
		return nil, fmt.Errorf("job %q: %w", id, js.session.failing("reading a job", err))
	}
	job, ok := e.(*store.Job)
	if !ok {
		return nil, fmt.Errorf("job %q is a %T: %w", id, e, store.ErrCorrupt)
	}
	return job, nil
}

// list returns all jobs, newest first.
func (js *jobs) list(ctx context.Context) ([]JobStatus, error) {
	all, err := js.all(ctx)
	if err != nil {
		return nil, js.session.failing("reading the jobs", err)
	}
	slices.Reverse(all)
	list := make([]JobStatus, 0, len(all))
	for _, job := range all {
		list = append(list, JobStatus{Job: *job, Held: js.held(job.ID)})
	}
	return list, nil
}

// note remembers what a running job waits for, "" for nothing.
func (js *jobs) note(id, destination string) {
	js.mu.Lock()
	defer js.mu.Unlock()
	js.holds[id] = destination
}

// held returns what a job waits for.
func (js *jobs) held(id string) string {
	js.mu.Lock()
	defer js.mu.Unlock()
	return js.holds[id]
}

// wait lets time pass and reports whether ctx has not ended meanwhile.
func (js *jobs) wait(ctx context.Context, d time.Duration) bool {
	return wait(ctx, js.session.engine.clock, d)
}

// close stops all jobs where they stand; they stay running for the next session.
func (js *jobs) close() {
	js.mu.Lock()
	js.quit = true
	js.mu.Unlock()
	js.end()
}
