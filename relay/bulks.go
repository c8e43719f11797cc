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

// bulks are the jobs of a session.
type bulks struct {
	session *session
	life    context.Context
	end     context.CancelFunc

	// turning is held while a job is made or its state is changed by an operator.
	turning sync.Mutex

	mu      sync.Mutex
	quit    bool
	running map[string]*bulk
	holds   map[string]string // what a running job waits for
	workers sync.WaitGroup
}

func newBulks(s *session) *bulks {
	bs := &bulks{session: s, running: make(map[string]*bulk), holds: make(map[string]string)}
	bs.life, bs.end = context.WithCancel(context.Background())
	return bs
}

// resume goes on with the jobs that were running when the store was closed.
func (bs *bulks) resume(ctx context.Context) {
	bs.turning.Lock()
	defer bs.turning.Unlock()
	all, err := bs.all(ctx)
	if err != nil {
		bs.session.engine.log.Error("reading the jobs", zap.Error(bs.session.failing("reading the jobs", err)))
		return
	}
	for _, job := range all {
		if job.State == store.JobRunning {
			bs.session.engine.log.Info("going on with a job", zap.String("job", job.ID), zap.String("action", string(job.Action)),
				zap.Uint64("done", job.Done))
			bs.start(job)
		}
	}
}

// all reads all jobs, oldest first.
func (bs *bulks) all(ctx context.Context) ([]*store.Job, error) {
	var all []*store.Job
	q := store.EntityQuery{Kind: store.KindJob, Limit: keptJobs}
	for {
		page, err := bs.session.store.ListEntities(ctx, q)
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
func (bs *bulks) begin(ctx context.Context, job *store.Job) (store.Job, error) {
	bs.turning.Lock()
	defer bs.turning.Unlock()
	if err := bs.makeRoom(ctx); err != nil {
		return store.Job{}, err
	}
	if err := bs.session.store.PutEntity(ctx, job); err != nil {
		return store.Job{}, bs.session.failing("making a job", err)
	}
	made := *job
	bs.start(job)
	return made, nil
}

// makeRoom forgets the oldest jobs that have ended, and refuses more that have
// not than can be looked after.
func (bs *bulks) makeRoom(ctx context.Context) error {
	all, err := bs.all(ctx)
	if err != nil {
		return bs.session.failing("reading the jobs", err)
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
		if err := bs.session.store.DeleteEntity(ctx, all[i].Key()); err != nil {
			return bs.session.failing("forgetting a job", err)
		}
		extra--
	}
	return nil
}

// start has a job worked on, unless the session ends.
func (bs *bulks) start(job *store.Job) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	if bs.quit {
		return
	}
	ctx, stop := context.WithCancel(bs.life)
	b := newBulk(bs, job)
	b.stop = stop
	bs.running[job.ID] = b
	bs.workers.Go(func() {
		defer stop()
		b.run(ctx)
		bs.mu.Lock()
		defer bs.mu.Unlock()
		if bs.running[job.ID] == b { // it may have been resumed since
			delete(bs.running, job.ID)
			delete(bs.holds, job.ID)
		}
	})
}

// halt stops a job that is worked on, where it stands, and returns when it has.
func (bs *bulks) halt(ctx context.Context, id string) error {
	bs.mu.Lock()
	b := bs.running[id]
	bs.mu.Unlock()
	if b == nil {
		return nil
	}
	b.stop()
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turn brings a job into another state.
func (bs *bulks) turn(ctx context.Context, id string, to store.JobState) (store.Job, error) {
	bs.turning.Lock()
	defer bs.turning.Unlock()
	if to != store.JobRunning {
		if err := bs.halt(ctx, id); err != nil {
			return store.Job{}, err
		}
	}
	job, err := bs.job(ctx, id)
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
		job.EndedAt = bs.session.store.Now()
	}
	if err := bs.session.store.PutEntity(ctx, job); err != nil {
		bs.goOn(id)
		return store.Job{}, bs.session.failing("changing a job", err)
	}
	turned := *job
	if to == store.JobRunning {
		bs.start(job)
	}
	return turned, nil
}

// goOn goes on with a job that was halted and has stayed as it was.
func (bs *bulks) goOn(id string) {
	job, err := bs.job(bs.life, id)
	if err == nil && job.State == store.JobRunning {
		bs.start(job)
	}
}

// job reads a job.
func (bs *bulks) job(ctx context.Context, id string) (*store.Job, error) {
	e, err := bs.session.store.Entity(ctx, store.EntityKey{Kind: store.KindJob, ID: id})
	if err != nil {
		return nil, fmt.Errorf("job %q: %w", id, bs.session.failing("reading a job", err))
	}
	job, ok := e.(*store.Job)
	if !ok {
		return nil, fmt.Errorf("job %q is a %T: %w", id, e, store.ErrCorrupt)
	}
	return job, nil
}

// list returns all jobs, newest first.
func (bs *bulks) list(ctx context.Context) ([]JobStatus, error) {
	all, err := bs.all(ctx)
	if err != nil {
		return nil, bs.session.failing("reading the jobs", err)
	}
	slices.Reverse(all)
	list := make([]JobStatus, 0, len(all))
	for _, job := range all {
		list = append(list, JobStatus{Job: *job, Held: bs.held(job.ID)})
	}
	return list, nil
}

// note remembers what a running job waits for, "" for nothing.
func (bs *bulks) note(id, destination string) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	bs.holds[id] = destination
}

// held returns what a job waits for.
func (bs *bulks) held(id string) string {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	return bs.holds[id]
}

// wait lets time pass and reports whether ctx has not ended meanwhile.
func (bs *bulks) wait(ctx context.Context, d time.Duration) bool {
	return wait(ctx, bs.session.engine.clock, d)
}

// close stops all jobs where they stand; they stay running for the next session.
func (bs *bulks) close() {
	bs.mu.Lock()
	bs.quit = true
	bs.mu.Unlock()
	bs.end()
}
