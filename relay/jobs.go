// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// jobs are the jobs of a session. Each that is worked on, or that somebody wants
// to change, has a run, which alone reads and writes its record: nobody holds a
// lock while the store is asked.
type jobs struct {
	session *session
	life    context.Context
	end     context.CancelFunc

	mu      sync.Mutex
	quit    bool
	running map[string]*jobRun
	holds   map[string]string // what a running job waits for
	making  []string          // jobs that are being made, in the order in which that began
	workers sync.WaitGroup
}

func newJobs(s *session) *jobs {
	js := &jobs{session: s, running: make(map[string]*jobRun), holds: make(map[string]string)}
	js.life, js.end = context.WithCancel(context.Background())
	return js
}

// resume goes on with the jobs that were running when the store was closed.
func (js *jobs) resume(ctx context.Context) {
	all, err := js.all(ctx)
	if err != nil {
		js.session.engine.log.Error("reading the jobs", zap.Error(js.session.failing("reading the jobs", err)))
		return
	}
	for i := range all {
		switch job := &all[i]; {
		case job.Err != nil:
			js.session.engine.log.Error("a job can not be read, and does not go on: delete it, and start another for what is left to do",
				zap.String("job", job.ID), zap.Error(job.Err))
		case job.State == store.JobRunning:
			js.session.engine.log.Info("going on with a job", zap.String("job", job.ID), zap.String("action", string(job.Action)),
				zap.Uint64("done", job.Done))
			js.start(job.ID)
		}
	}
}

// all reads all jobs, oldest first.
func (js *jobs) all(ctx context.Context) ([]JobStatus, error) {
	var all []JobStatus
	q := store.EntityQuery{Kind: store.KindJob, Limit: keptJobs}
	for {
		page, err := js.session.store.ListEntities(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			switch e := e.(type) {
			case *store.Job:
				all = append(all, JobStatus{Job: *e})
			case *store.Illegible:
				all = append(all, illegible(e.ID, e.Err))
			}
			q.After = e.Key().ID
		}
		if len(page) < q.Limit {
			return all, nil
		}
	}
}

// announce notes that a job is being made until the returned function is called, and
// returns those of which that was noted before.
func (js *jobs) announce(id string) (earlier []string, made func()) {
	js.mu.Lock()
	defer js.mu.Unlock()
	earlier = slices.Clone(js.making)
	js.making = append(js.making, id)
	return earlier, func() {
		js.mu.Lock()
		defer js.mu.Unlock()
		js.making = slices.DeleteFunc(js.making, func(other string) bool { return other == id })
	}
}

// makeRoom forgets the oldest jobs that have ended, and refuses more that have
// not than can be looked after. Those that began to be made earlier count, too.
func (js *jobs) makeRoom(ctx context.Context, earlier []string) error {
	all, err := js.all(ctx)
	if err != nil {
		return js.session.failing("reading the jobs", err)
	}
	alive, kept := 0, len(all)
	for i := range all {
		if all[i].Err == nil && !all[i].State.Ended() {
			alive++
		}
	}
	for _, id := range earlier {
		if !slices.ContainsFunc(all, func(job JobStatus) bool { return job.ID == id }) {
			alive, kept = alive+1, kept+1
		}
	}
	if alive >= maxJobs {
		return fmt.Errorf("%d jobs have not ended: %w", alive, ErrTooManyJobs)
	}
	for i, extra := 0, kept-keptJobs+1; i < len(all) && extra > 0; i++ {
		if all[i].Err != nil || !all[i].State.Ended() {
			continue
		}
		if err := js.session.store.DeleteEntity(ctx, all[i].Key()); err != nil && !errors.Is(err, store.ErrNotFound) {
			return js.session.failing("forgetting a job", err)
		}
		extra--
	}
	return nil
}

// start has a job worked on, if that is its state in the store, unless the session
// ends.
func (js *jobs) start(id string) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if !js.quit {
		js.runOf(id).again = true
	}
}

// runOf returns the run of a job, which begins by that if there is none. The caller
// has the lock.
func (js *jobs) runOf(id string) *jobRun {
	r := js.running[id]
	if r == nil {
		r = newJobRun(js, id)
		js.running[id] = r
		js.workers.Go(func() { r.run(js.life) })
	}
	return r
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
	for i := range all {
		all[i].Held = js.held(all[i].ID)
	}
	return all, nil
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
