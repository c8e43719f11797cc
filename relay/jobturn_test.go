// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// TestAStoreThatHangsOverOneJobKeepsNoOtherWaiting has it hang while it keeps the state
// of one job, and then the making of another.
func TestAStoreThatHangsOverOneJobKeepsNoOtherWaiting(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(100)
		slow := JobRequest{Action: store.ActionRedrive, Rate: 1}
		hung, other := r.start(slow), r.start(slow)
		settle(time.Second)
		hang := make(chan struct{})
		r.store.put.set(func(e store.Entity) error {
			if job, ok := e.(*store.Job); ok && (job.ID == hung.ID || job.By == "hangs") {
				<-hang
			}
			return nil
		})
		patient := func(do func(context.Context) error) error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			return do(ctx)
		}
		settle(2 * time.Second) // it hangs over how far the job has come
		if err := patient(func(ctx context.Context) error { _, err := r.PauseJob(ctx, hung.ID); return err }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("pausing the one that hangs: %v", err)
		}
		begin := func(ctx context.Context) error {
			_, err := r.StartJob(ctx, JobRequest{Action: store.ActionRedrive, By: "hangs"})
			return err
		}
		if err := patient(begin); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("making one that hangs: %v", err)
		}
		for what, do := range map[string]func(context.Context) error{
			"pausing":  func(ctx context.Context) error { _, err := r.PauseJob(ctx, other.ID); return err },
			"starting": func(ctx context.Context) error { _, err := r.StartJob(ctx, slow); return err },
			"listing":  func(ctx context.Context) error { _, err := r.Jobs(ctx); return err },
			"unknown": func(ctx context.Context) error {
				if _, err := r.CancelJob(ctx, "job_unknown"); !errors.Is(err, store.ErrNotFound) {
					return errors.New("not said to be unknown")
				}
				return nil
			},
		} {
			if err := patient(do); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		close(hang)
		settle(10 * time.Minute)
		for id, want := range map[string]store.JobState{hung.ID: store.JobDone, other.ID: store.JobPaused} {
			if j := r.job(id); j.State != want {
				t.Errorf("job is %s after that, want %s", j.State, want)
			}
		}
	})
}

func TestJobsThatAreMadeAtOnceAreBounded(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.dead("a")
		r.pause("d")
		r.store.put.set(func(store.Entity) error {
			time.Sleep(time.Second) // virtual: only ever called inside a synctest bubble
			return nil
		})
		var wg sync.WaitGroup
		var mu sync.Mutex
		made := 0
		for range 3 * maxJobs {
			wg.Go(func() {
				_, err := r.StartJob(t.Context(), JobRequest{Action: store.ActionRedrive})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					made++
				} else if !errors.Is(err, ErrTooManyJobs) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		jobs, err := r.Jobs(t.Context())
		if err != nil || made != len(jobs) || made != maxJobs {
			t.Errorf("%d jobs were made, %d are there, error %v", made, len(jobs), err)
		}
		r.resume("d")
	})
}

// TestAJobFollowsTheLastOfManyWhoTurnIt has all of them at work at once.
func TestAJobFollowsTheLastOfManyWhoTurnIt(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(500)
		job := r.start(JobRequest{Action: store.ActionRedrive, Rate: 20})
		var wg sync.WaitGroup
		for i := range 20 {
			turn := r.PauseJob
			if i%2 == 1 {
				turn = r.ResumeJob
			}
			wg.Go(func() {
				for range 5 {
					if _, err := turn(t.Context(), job.ID); err != nil && !errors.Is(err, store.ErrState) {
						t.Error(err)
					}
					time.Sleep(time.Duration(i) * time.Millisecond) // virtual: only ever called inside a synctest bubble
				}
			})
		}
		wg.Wait()
		if _, err := r.PauseJob(t.Context(), job.ID); err != nil && !errors.Is(err, store.ErrState) {
			t.Fatal(err)
		}
		settle(time.Second)
		before := r.job(job.ID)
		settle(time.Minute)
		if after := r.job(job.ID); before.State != store.JobPaused || after.Done != before.Done {
			t.Errorf("job was %s, %d done, and is %s, %d done", before.State, before.Done, after.State, after.Done)
		}
		if _, err := r.ResumeJob(t.Context(), job.ID); err != nil {
			t.Fatal(err)
		}
		settle(10 * time.Minute)
		r.expectJob(job.ID, store.JobDone, 500, 0)
		if n := r.upstream.count(); n != 1000 {
			t.Errorf("%d attempts, want each message twice", n)
		}
	})
}

func TestOnlyAJobThatHasEndedIsForgotten(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(100)
		job := r.start(JobRequest{Action: store.ActionRedrive, Rate: 10})
		settle(time.Second)
		forget := func() error { return r.ForgetJob(t.Context(), job.ID) }
		if err := forget(); !errors.Is(err, store.ErrState) {
			t.Errorf("forgetting one that runs: %v", err)
		}
		if _, err := r.PauseJob(t.Context(), job.ID); err != nil {
			t.Fatal(err)
		}
		if err := forget(); !errors.Is(err, store.ErrState) {
			t.Errorf("forgetting one that is paused: %v", err)
		}
		if _, err := r.CancelJob(t.Context(), job.ID); err != nil {
			t.Fatal(err)
		}
		if err := forget(); err != nil {
			t.Errorf("forgetting one that was canceled: %v", err)
		}
		if err := forget(); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("forgetting it again: %v", err)
		}
		if jobs, err := r.Jobs(t.Context()); err != nil || len(jobs) != 0 {
			t.Errorf("jobs are %+v, error %v", jobs, err)
		}
	})
}

// TestAJobLooksAheadAnewInEachPass has it come back to a destination that was paused.
func TestAJobLooksAheadAnewInEachPass(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.twoDestinations()
		r.upstream.set(kills)
		for i := range jobPage + 1 {
			r.accept(string(rune('a'+i)), "d")
		}
		settle(time.Minute)
		r.upstream.set(nil)
		r.pause("d")
		about := make(map[*store.Ahead]string)
		pages := 0
		r.store.list.set(func(q store.DeliveryQuery) error {
			if q.Ahead == nil {
				return nil // another's
			}
			pages++
			if of, known := about[q.Ahead]; known && of != q.Destination {
				t.Errorf("what is known of %q is used for %q", of, q.Destination)
			}
			about[q.Ahead] = q.Destination
			return nil
		})
		job := r.start(JobRequest{Action: store.ActionRedrive})
		settle(time.Minute)
		r.resume("d")
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, jobPage+1, 0)
		if len(about) != 2 || pages < 4 {
			t.Errorf("%d pages of %d walks", pages, len(about))
		}
	})
}
