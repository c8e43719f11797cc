// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// maxJobs bounds the jobs that have not ended.
	maxJobs = 16

	// keptJobs is how many jobs are kept, those that have ended included.
	keptJobs = 100

	// jobPage is how many deliveries a job takes up at once, and changes in one commit:
	// others wait some milliseconds for it, and a destination that does not lag has
	// room for it.
	jobPage = readyWindow / 4
)

// JobPrefix is what the ids of jobs begin with.
const JobPrefix = "job_"

// JobRequest asks for a job.
type JobRequest struct {
	// Action is what to do to each delivery that the query selects.
	Action store.JobAction

	// Query selects the deliveries. A re-drive looks at dead ones only, a cancel at
	// open ones only, a delete at those that have ended. All but a re-drive have to
	// select by something. Deliveries that are made after the job, or re-driven after
	// it was made, are none of its.
	//
	// A delete removes the messages of what is selected, each once and with all of its
	// deliveries. A message stays that may still be delivered: one with an open
	// delivery, or with a dead one that the query does not select.
	Query store.DeliveryQuery

	// To is the destination of a replay; empty for the one of each delivery.
	To string

	// Rate bounds how many deliveries are changed in a second; 0 for no bound but
	// that of the destinations.
	Rate int

	// By tells who asks, for other operators to read.
	By string
}

// JobStatus is a job and what holds it up.
type JobStatus struct {
	store.Job

	// Held is the destination that a running job waits for: because it is down or
	// paused, or because there is enough due for it. Empty for none.
	Held string

	// Err wraps store.ErrCorrupt for a job whose record can not be read. Only its ID
	// and CreatedAt are known then; it is not worked on, and can be forgotten.
	Err error
}

// StartJob has what a query selects re-driven, replayed, canceled or deleted in the
// background, oldest first. A job goes no faster than its destinations deliver,
// so that new messages do not stand behind all of it; a destination that is down
// or paused is put off to the end. How far the job has come is kept in the store,
// and a restart goes on from there. It returns an error that wraps
// store.ErrInvalid for a request that makes no sense, ErrNoDestination, or
// ErrTooManyJobs. Where ctx ends meanwhile the job may have been made all the same.
func (e *Engine) StartJob(ctx context.Context, req JobRequest) (store.Job, error) {
	s, err := e.readyForJob(ctx, &req)
	if err != nil {
		return store.Job{}, err
	}
	job, err := req.job(s.latest())
	if err != nil {
		return store.Job{}, err
	}
	job.ID = JobPrefix + ulid.ULID(e.ids.next(e.clock.Now())).String()
	return s.jobs.begin(ctx, job)
}

// readyForJob returns the session that a job can be made in, once its
// destinations are known to be some.
func (e *Engine) readyForJob(ctx context.Context, req *JobRequest) (*session, error) {
	if req.To != "" {
		if _, err := e.known(ctx, req.To); err != nil {
			return nil, fmt.Errorf("replaying to %q: %w", req.To, err)
		}
	}
	if req.Query.Destination != "" {
		if _, err := e.known(ctx, req.Query.Destination); err != nil {
			return nil, fmt.Errorf("selecting by destination %q: %w", req.Query.Destination, err)
		}
	}
	return e.ready(ctx)
}

// job makes the job of a request, as of a time.
func (req *JobRequest) job(now time.Time) (*store.Job, error) {
	q := req.Query
	q.After, q.Limit, q.Ahead = store.DeliveryID{}, 0, nil
	if q.To.IsZero() {
		q.To = now.Add(time.Millisecond) // ids know no less
	}
	narrow := q.Destination != "" || q.Source != "" || q.Type != "" || q.EventID != "" || !q.From.IsZero() || !req.Query.To.IsZero()
	switch req.Action {
	case store.ActionRedrive:
		if q.Open || q.State != 0 && q.State != store.Dead {
			return nil, fmt.Errorf("only dead deliveries can be re-driven: %w", store.ErrInvalid)
		}
		q.State = store.Dead
	case store.ActionCancel:
		if q.State.Final() {
			return nil, fmt.Errorf("only open deliveries can be canceled: %w", store.ErrInvalid)
		}
		q.Open = true
	case store.ActionDelete:
		if q.Open || q.State.Open() {
			return nil, fmt.Errorf("only what has ended can be deleted, so cancel it first: %w", store.ErrInvalid)
		}
	case store.ActionReplay:
	default:
		return nil, fmt.Errorf("action is %q: it is redrive, replay, cancel or delete: %w", req.Action, store.ErrInvalid)
	}
	if req.Action != store.ActionRedrive && !narrow {
		which := ""
		if req.Query.State != 0 {
			which = " that is " + req.Query.State.String()
		}
		return nil, fmt.Errorf("this would %s everything%s, so name a destination, source, type, event id or time: %w", req.Action, which, store.ErrInvalid)
	}
	if req.Action != store.ActionReplay && req.To != "" {
		return nil, fmt.Errorf("only a replay goes to another destination: %w", store.ErrInvalid)
	}
	if req.Rate < 0 {
		return nil, fmt.Errorf("rate is %d: it is a number from 1, or left out: %w", req.Rate, store.ErrInvalid)
	}
	if !q.From.IsZero() && !q.From.Before(q.To) {
		return nil, fmt.Errorf("from is not before to, so that nothing lies between: %w", store.ErrInvalid)
	}
	return &store.Job{Action: req.Action, Query: q, To: req.To, Rate: req.Rate, By: req.By, State: store.JobRunning}, nil
}

// latest returns the time that no id is behind which was given so far: ids go by the
// host's clock, and the store's need not be the same.
func (s *session) latest() time.Time {
	now, host := s.store.Now(), s.engine.clock.Now()
	if host.After(now) {
		return host
	}
	return now
}

// CountJob tells how many deliveries a job would change now, or messages it would
// delete, without changing any. It stops counting at limit. Its errors are those of StartJob.
func (e *Engine) CountJob(ctx context.Context, req JobRequest, limit uint64) (uint64, error) {
	s, err := e.readyForJob(ctx, &req)
	if err != nil {
		return 0, err
	}
	job, err := req.job(s.latest())
	if err != nil {
		return 0, err
	}
	job.CreatedAt, job.Rate = s.store.Now(), 0
	r := newJobRun(s.jobs, job.ID)
	r.take(job)
	for n := uint64(0); ; {
		page, err := r.page(ctx)
		if err != nil {
			return n, s.failing("counting", err)
		}
		for i := range page {
			_, _, ok, err := r.applies(ctx, &page[i])
			if err != nil {
				return n, s.failing("counting", err)
			}
			if ok {
				n++
			}
		}
		if len(page) < jobPage || n >= limit {
			return min(n, limit), nil
		}
	}
}

// Jobs returns the jobs that are kept, newest first.
func (e *Engine) Jobs(ctx context.Context) ([]JobStatus, error) {
	s, err := e.ready(ctx)
	if err != nil {
		return nil, err
	}
	return s.jobs.list(ctx)
}

// Job returns a job. It returns store.ErrNotFound.
func (e *Engine) Job(ctx context.Context, id string) (JobStatus, error) {
	s, err := e.ready(ctx)
	if err != nil {
		return JobStatus{}, err
	}
	job, err := s.jobs.job(ctx, id)
	if errors.Is(err, store.ErrCorrupt) {
		return illegible(id, err), nil
	}
	if err != nil {
		return JobStatus{}, err
	}
	return JobStatus{Job: *job, Held: s.jobs.held(id)}, nil
}

// PauseJob stops a running job until ResumeJob. It returns store.ErrNotFound, or
// store.ErrState for a job that does not run.
func (e *Engine) PauseJob(ctx context.Context, id string) (store.Job, error) {
	return e.turnJob(ctx, id, store.JobPaused)
}

// ResumeJob has a job go on that was paused or has failed. It returns
// store.ErrNotFound, or store.ErrState for any other job.
func (e *Engine) ResumeJob(ctx context.Context, id string) (store.Job, error) {
	return e.turnJob(ctx, id, store.JobRunning)
}

// CancelJob ends a job for good; what it has done stays done. It returns
// store.ErrNotFound, or store.ErrState for a job that has ended.
func (e *Engine) CancelJob(ctx context.Context, id string) (store.Job, error) {
	return e.turnJob(ctx, id, store.JobCanceled)
}

// ForgetJob removes the record of a job that has ended or can not be read; what the
// job has done stays done. It returns store.ErrNotFound, or store.ErrState for any
// other job.
func (e *Engine) ForgetJob(ctx context.Context, id string) error {
	s, err := e.ready(ctx)
	if err != nil {
		return err
	}
	return s.jobs.forget(ctx, id)
}

func (e *Engine) turnJob(ctx context.Context, id string, to store.JobState) (store.Job, error) {
	s, err := e.ready(ctx)
	if err != nil {
		return store.Job{}, err
	}
	return s.jobs.turn(ctx, id, to)
}

// mayTurn reports whether an operator can bring a job from one state to another.
func mayTurn(from, to store.JobState) bool {
	switch to {
	case store.JobPaused:
		return from == store.JobRunning
	case store.JobRunning:
		return from == store.JobPaused || from == store.JobFailed
	default:
		return !from.Ended()
	}
}

// illegible returns what is known of a job that can not be read.
func illegible(id string, err error) JobStatus {
	status := JobStatus{Job: store.Job{ID: id}, Err: err}
	if made, parsed := ulid.ParseStrict(strings.TrimPrefix(id, JobPrefix)); parsed == nil {
		status.CreatedAt = ulid.Time(made.Time()).UTC()
	}
	return status
}

// passed reports whether a change of a delivery is one that a job does not wait
// for: another was faster, and the delivery is not what was selected any more.
func passed(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrState)
}
