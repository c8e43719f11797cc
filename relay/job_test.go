// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

// start starts a job that must be taken.
func (r *rig) start(req JobRequest) store.Job {
	r.t.Helper()
	job, err := r.StartJob(r.t.Context(), req)
	if err != nil {
		r.t.Fatalf("starting a job: %v", err)
	}
	return job
}

// job returns a job as it stands.
func (r *rig) job(id string) JobStatus {
	r.t.Helper()
	job, err := r.Job(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return job
}

// count returns how many deliveries a job would change.
func (r *rig) count(req JobRequest) uint64 {
	r.t.Helper()
	n, err := r.CountJob(r.t.Context(), req, 1_000_000)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// expectJob checks where a job stands.
func (r *rig) expectJob(id string, state store.JobState, done, skipped uint64) {
	r.t.Helper()
	if j := r.job(id); j.State != state || j.Done != done || j.Skipped != skipped {
		r.t.Errorf("job is %s, %d done, %d skipped (%s), want %s, %d and %d", j.State, j.Done, j.Skipped, j.Error, state, done, skipped)
	}
}

// twoDestinations puts "d" and "e" in force, which have upstreams of their own.
func (r *rig) twoDestinations() (e *upstream) {
	e = &upstream{}
	r.Attach(r.to(Destination{ID: "d", Deliverer: r.upstream}, Destination{ID: "e", Deliverer: e}))
	return e
}

// deadLetters has n messages accepted that are dead at once. The upstream is well
// again after that.
func (r *rig) deadLetters(n int, destinations ...string) {
	r.t.Helper()
	r.upstream.set(kills)
	for i := range n {
		r.accept(fmt.Sprint(i), destinations...)
	}
	settle(time.Minute)
	r.upstream.set(nil)
}

func TestAJobRedrivesWhatItSelectsAndNothingElse(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		e := r.twoDestinations()
		e.set(kills)
		r.deadLetters(250, "d", "e")
		e.set(nil)
		req := JobRequest{Action: store.ActionRedrive, Query: store.DeliveryQuery{Destination: "d"}, By: "test"}
		if n := r.count(req); n != 250 {
			t.Errorf("dry run counts %d", n)
		}
		job := r.start(req)
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, 250, 0)
		books, _ := r.Books(t.Context())
		if books["d"].Delivered != 250 || books["e"].Dead != 250 {
			t.Errorf("books are %+v", books)
		}
		if n := r.count(req); n != 0 {
			t.Errorf("dry run counts %d after the job", n)
		}
		if j := r.job(job.ID); j.By != "test" || j.EndedAt.IsZero() {
			t.Errorf("job is %+v", j)
		}
	})
}

func TestAJobReplaysEachMessageOncePerDestination(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		e := r.twoDestinations()
		for i := range 120 {
			id := r.accept(fmt.Sprint(i), "d").ID
			settle(time.Millisecond)
			if i%2 == 0 { // it has two deliveries to d now
				if _, err := r.Replay(t.Context(), id, "d"); err != nil {
					t.Fatal(err)
				}
			}
		}
		settle(time.Second)
		for _, c := range []struct {
			req  JobRequest
			d, e int
		}{
			{JobRequest{Action: store.ActionReplay, Query: store.DeliveryQuery{Source: "s"}}, 180 + 120, 0},
			{JobRequest{Action: store.ActionReplay, Query: store.DeliveryQuery{Source: "s"}, To: "e", Rate: 50}, 180 + 120, 120},
			{JobRequest{Action: store.ActionReplay, Query: store.DeliveryQuery{Source: "none"}}, 180 + 120, 120},
		} {
			want := uint64(0)
			if c.req.Query.Source == "s" {
				want = 120
			}
			if n := r.count(c.req); n != want {
				t.Errorf("dry run counts %d, want %d", n, want)
			}
			job := r.start(c.req)
			settle(time.Minute)
			r.expectJob(job.ID, store.JobDone, want, 0)
			if r.upstream.count() != c.d || e.count() != c.e {
				t.Errorf("%d and %d attempts, want %d and %d", r.upstream.count(), e.count(), c.d, c.e)
			}
		}
	})
}

func TestAJobCancelsWhatIsOpen(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		for i := range 30 {
			r.accept(fmt.Sprint(i))
		}
		settle(time.Second)
		job := r.start(JobRequest{Action: store.ActionCancel, Query: store.DeliveryQuery{Destination: "d"}})
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, 30, 0)
		books, _ := r.Books(t.Context())
		if books["d"].Canceled != 30 || books["d"].Open != 0 {
			t.Errorf("books are %+v", books["d"])
		}
	})
}

// TestAJobCancelsAllOfALane has the first one behind each page come to the head of
// the lane by that.
func TestAJobCancelsAllOfALane(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		const n = 2*jobPage + 10
		for i := range n {
			in := r.inbound(fmt.Sprint(i))
			in.Targets[0].OrderKey = "k"
			if _, err := r.Accept(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		settle(time.Second)
		req := JobRequest{Action: store.ActionCancel, Query: store.DeliveryQuery{Destination: "d"}}
		if got := r.count(req); got != n {
			t.Errorf("dry run counts %d", got)
		}
		job := r.start(req)
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, n, 0)
		books, _ := r.Books(t.Context())
		if books["d"].Canceled != n || books["d"].Open != 0 {
			t.Errorf("books are %+v", books["d"])
		}
	})
}

func TestAJobKeepsToItsRateAndCanBePausedResumedAndCanceled(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(100)
		job := r.start(JobRequest{Action: store.ActionRedrive, Rate: 10})
		settle(2 * time.Second)
		if j := r.job(job.ID); j.Done < 15 || j.Done > 25 {
			t.Errorf("%d re-driven in two seconds at 10 a second", j.Done)
		}
		if paused, err := r.PauseJob(t.Context(), job.ID); err != nil || paused.State != store.JobPaused {
			t.Fatalf("pausing: %+v, %v", paused, err)
		}
		settle(time.Second)
		before := r.job(job.ID).Done
		settle(time.Hour / 2)
		if after := r.job(job.ID).Done; after != before {
			t.Errorf("%d were re-driven while the job was paused", after-before)
		}
		if _, err := r.PauseJob(t.Context(), job.ID); !errors.Is(err, store.ErrState) {
			t.Errorf("pausing again: %v", err)
		}
		if _, err := r.ResumeJob(t.Context(), job.ID); err != nil {
			t.Fatal(err)
		}
		settle(2 * time.Second)
		if after := r.job(job.ID).Done; after <= before {
			t.Error("nothing was re-driven after the job was resumed")
		}
		canceled, err := r.CancelJob(t.Context(), job.ID)
		if err != nil || canceled.State != store.JobCanceled || canceled.EndedAt.IsZero() {
			t.Fatalf("canceling: %+v, %v", canceled, err)
		}
		settle(time.Minute)
		r.expectJob(job.ID, store.JobCanceled, canceled.Done, 0)
		if _, err := r.ResumeJob(t.Context(), job.ID); !errors.Is(err, store.ErrState) {
			t.Errorf("resuming what was canceled: %v", err)
		}
		if _, err := r.CancelJob(t.Context(), "job_unknown"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("canceling what does not exist: %v", err)
		}
	})
}

func TestAJobGoesOnWhereItWasAfterAFailureOfTheStore(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(200)
		job := r.start(JobRequest{Action: store.ActionRedrive, Rate: 20})
		settle(2 * time.Second)
		before := r.job(job.ID).Done
		r.store.accept.set(func([]store.Acceptance) error { return store.ErrFailed })
		if _, err := r.Accept(t.Context(), r.inbound("fails")); err == nil {
			t.Fatal("the store has not failed")
		}
		r.store.accept.set(nil)
		settle(time.Minute)
		if before < 20 || before > 60 || r.opens != 2 {
			t.Fatalf("%d re-driven before the failure, store opened %d times", before, r.opens)
		}
		r.expectJob(job.ID, store.JobDone, 200, 0)
		if n := r.upstream.count(); n != 400 {
			t.Errorf("%d attempts, want each message twice", n)
		}
	})
}

func TestAJobRepeatsNothingThoughHowFarItHadComeWasLost(t *testing.T) {
	for _, action := range []store.JobAction{store.ActionRedrive, store.ActionReplay} {
		bubble(t, nil, func(t *testing.T, r *rig) {
			r.deadLetters(jobPage + 50)
			puts := 0
			r.store.put.set(func(store.Entity) error {
				if puts++; puts == 2 {
					return store.ErrFailed
				}
				return nil
			})
			job := r.start(JobRequest{Action: action, Query: store.DeliveryQuery{Destination: "d"}})
			settle(time.Minute)
			if j := r.job(job.ID); j.State != store.JobDone || r.opens != 2 {
				t.Errorf("job is %s, store opened %d times", j.State, r.opens)
			}
			if n := r.upstream.count(); n != 2*(jobPage+50) {
				t.Errorf("%s: %d attempts, want each message twice", action, n)
			}
		})
	}
}

// TestAJobRepeatsNothingThoughItsCommitEndedUnknown has the store fail after it has
// committed a page, before it could say so.
func TestAJobRepeatsNothingThoughItsCommitEndedUnknown(t *testing.T) {
	for _, action := range []store.JobAction{store.ActionRedrive, store.ActionReplay} {
		bubble(t, nil, func(t *testing.T, r *rig) {
			r.deadLetters(250)
			r.store.operate.set(func(batch []store.Operation) error {
				r.store.operate.set(nil)
				if _, err := r.store.Store.Operate(t.Context(), batch); err != nil {
					t.Error(err)
				}
				return store.ErrFailed
			})
			job := r.start(JobRequest{Action: action, Query: store.DeliveryQuery{Destination: "d"}})
			settle(time.Minute)
			if j := r.job(job.ID); j.State != store.JobDone || r.opens != 2 {
				t.Errorf("job is %s, store opened %d times", j.State, r.opens)
			}
			if n := r.upstream.count(); n != 500 {
				t.Errorf("%s: %d attempts, want each message twice", action, n)
			}
		})
	}
}

func TestAJobCommitsAPageAtOnce(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(3 * jobPage)
		commits, largest := 0, 0
		r.store.operate.set(func(batch []store.Operation) error {
			commits++
			largest = max(largest, len(batch))
			return nil
		})
		job := r.start(JobRequest{Action: store.ActionRedrive})
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, 3*jobPage, 0)
		if commits != 3 || largest != jobPage {
			t.Errorf("%d commits, of up to %d deliveries", commits, largest)
		}
	})
}

// TestAJobGoesOnBehindWhatCanNotBeChanged has the store refuse one of a page.
func TestAJobGoesOnBehindWhatCanNotBeChanged(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(20)
		r.store.operate.set(func(batch []store.Operation) error {
			batch[3].Action = "unknown"
			return nil
		})
		job := r.start(JobRequest{Action: store.ActionRedrive})
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, 19, 1)
		if n := r.said.FilterMessageSnippet("leaves out").Len(); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestAJobThatFailsCanBeResumed(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.dead("a")
		r.store.list.set(func(store.DeliveryQuery) error { return store.ErrCorrupt })
		job := r.start(JobRequest{Action: store.ActionRedrive})
		settle(time.Minute)
		if j := r.job(job.ID); j.State != store.JobFailed || j.Error == "" {
			t.Fatalf("job is %+v", j)
		}
		r.store.list.set(nil)
		if j, err := r.ResumeJob(t.Context(), job.ID); err != nil || j.Error != "" {
			t.Fatalf("resumed as %+v, error %v", j, err)
		}
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, 1, 0)
	})
}

func TestP11_AJobPutsOffWhatIsDownOrPausedAndComesBackToIt(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		e := r.twoDestinations()
		e.set(kills)
		r.deadLetters(150, "d", "e")
		e.set(nil)
		r.pause("d")
		job := r.start(JobRequest{Action: store.ActionRedrive})
		settle(time.Minute)
		books, _ := r.Books(t.Context())
		if books["e"].Delivered != 150 || books["d"].Dead != 150 {
			t.Fatalf("books are %+v, want those of the healthy destination delivered", books)
		}
		if j := r.job(job.ID); j.State != store.JobRunning || j.Held != "d" {
			t.Errorf("job is %s and waits for %q", j.State, j.Held)
		}
		r.resume("d")
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, 300, 0)
		if books, _ = r.Books(t.Context()); books["d"].Delivered != 150 {
			t.Errorf("books are %+v", books["d"])
		}
	})
}

// TestP11_AJobPutsOffWhatIsPausedWhileItLags has a destination be paused that the job
// waits for because enough is due for it.
func TestP11_AJobPutsOffWhatIsPausedWhileItLags(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		e := r.twoDestinations()
		e.set(kills)
		r.deadLetters(jobPage, "d", "e")
		e.set(nil)
		r.upstream.set(func(ctx context.Context, a Attempt) Result {
			time.Sleep(time.Minute) // virtual: only ever called inside a synctest bubble
			return succeeds(ctx, a)
		})
		for i := range 2 * readyWindow {
			r.accept(fmt.Sprint("new", i), "d")
		}
		job := r.start(JobRequest{Action: store.ActionRedrive})
		settle(10 * time.Second)
		if j := r.job(job.ID); j.Held != "d" {
			t.Fatalf("job waits for %q", j.Held)
		}
		r.pause("d")
		settle(10 * time.Minute)
		if books, _ := r.Books(t.Context()); books["e"].Delivered != jobPage {
			t.Errorf("books are %+v, want those of the healthy destination delivered", books)
		}
		r.upstream.set(nil)
		r.resume("d")
		settle(10 * time.Minute)
		r.expectJob(job.ID, store.JobDone, 2*jobPage, 0)
	})
}

// TestAJobGoesOnWhereWhoPausesItGoesAway has the caller give up while the job waits
// for its commit.
func TestAJobGoesOnWhereWhoPausesItGoesAway(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(jobPage + 10)
		hang := make(chan struct{})
		r.store.operate.set(func([]store.Operation) error {
			<-hang
			return nil
		})
		job := r.start(JobRequest{Action: store.ActionRedrive})
		settle(time.Second)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := r.PauseJob(ctx, job.ID); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("pausing: %v", err)
			}
			cancel()
		}
		close(hang)
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, jobPage+10, 0)
	})
}

func TestP11_NewMessagesDoNotStandBehindAJob(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(3000)
		r.upstream.set(func(ctx context.Context, a Attempt) Result {
			time.Sleep(time.Second) // virtual: only ever called inside a synctest bubble
			return succeeds(ctx, a)
		})
		r.start(JobRequest{Action: store.ActionRedrive})
		settle(2 * time.Second)
		began := time.Now()
		id := r.accept("new").ID
		for r.delivery(id).State != store.Delivered {
			settle(time.Second)
			if time.Since(began) > 5*time.Minute {
				break
			}
		}
		// 64 at once, one second each: 3000 would take 47 seconds.
		if took := time.Since(began); took > 25*time.Second {
			t.Errorf("a new message took %s beside the job", took)
		}
		settle(10 * time.Minute)
	})
}

func TestJobsThatMakeNoSenseAreRefused(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		for _, req := range []JobRequest{
			{},
			{Action: "destroy", Query: store.DeliveryQuery{Source: "s"}},
			{Action: store.ActionReplay},
			{Action: store.ActionCancel},
			{Action: store.ActionDelete},
			{Action: store.ActionDelete, Query: store.DeliveryQuery{State: store.Dead}},
			{Action: store.ActionDelete, Query: store.DeliveryQuery{Source: "s", Open: true}},
			{Action: store.ActionDelete, Query: store.DeliveryQuery{Source: "s", State: store.Waiting}},
			{Action: store.ActionRedrive, Query: store.DeliveryQuery{State: store.Delivered}},
			{Action: store.ActionRedrive, Query: store.DeliveryQuery{Open: true}},
			{Action: store.ActionCancel, Query: store.DeliveryQuery{Source: "s", State: store.Dead}},
			{Action: store.ActionRedrive, To: "d"},
			{Action: store.ActionRedrive, Rate: -1},
		} {
			if _, err := r.StartJob(t.Context(), req); !errors.Is(err, store.ErrInvalid) {
				t.Errorf("%+v: %v", req, err)
			}
			if _, err := r.CountJob(t.Context(), req, 1); !errors.Is(err, store.ErrInvalid) {
				t.Errorf("counting %+v: %v", req, err)
			}
		}
		if _, err := r.StartJob(t.Context(), JobRequest{Action: store.ActionReplay, Query: store.DeliveryQuery{Source: "s"}, To: "typo"}); !errors.Is(err, ErrNoDestination) {
			t.Errorf("replaying to nowhere: %v", err)
		}
	})
}

func TestJobsThatHaveEndedAreForgottenAndOthersAreBounded(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		redrive := JobRequest{Action: store.ActionRedrive}
		var ids []string
		for range keptJobs + 5 {
			ids = append(ids, r.start(redrive).ID)
			settle(time.Second)
		}
		jobs, err := r.Jobs(t.Context())
		if err != nil || len(jobs) != keptJobs {
			t.Fatalf("%d jobs are kept, error %v", len(jobs), err)
		}
		slices.Reverse(ids)
		for i, j := range jobs {
			if j.ID != ids[i] {
				t.Fatalf("job %d is %s, want %s", i, j.ID, ids[i])
			}
		}
		r.dead("a")
		r.pause("d")
		for range maxJobs {
			r.start(redrive)
		}
		if _, err := r.StartJob(t.Context(), redrive); !errors.Is(err, ErrTooManyJobs) {
			t.Errorf("one job too many: %v", err)
		}
		r.resume("d")
		settle(time.Minute)
		r.start(redrive)
	})
}

// TestAJobSelectsByTheClockThatMadeTheIDs has the store open under a clock that is
// far behind and was set since.
func TestAJobSelectsByTheClockThatMadeTheIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		behind := func() time.Time { return time.Now().AddDate(-20, 0, 0) }
		r := newRigOn(t, &intercepted{Store: kept{memory.New(memory.Options{Now: behind})}}, nil)
		id := r.dead("a").ID
		if _, err := r.StartJob(t.Context(), JobRequest{Action: store.ActionRedrive}); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		r.expect(id, store.Delivered, 2)
		r.close()
	})
}

// TestAJobThatIsMadeAsTheSessionBeginsRunsOnce has it be made before those are looked
// for that go on.
func TestAJobThatIsMadeAsTheSessionBeginsRunsOnce(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.dead("a")
		r.pause("d")
		job := r.start(JobRequest{Action: store.ActionReplay, Query: store.DeliveryQuery{Destination: "d"}})
		js := r.current.Load().jobs
		js.mu.Lock()
		run := js.running[job.ID]
		js.mu.Unlock()
		js.resume(t.Context())
		js.mu.Lock()
		if now := js.running[job.ID]; now != run {
			t.Error("the job is worked on twice")
		}
		js.mu.Unlock()
		r.resume("d")
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, 1, 0)
	})
}

// TestAJobGoesOnWhereItsPauseCouldNotBeKept has the store refuse the new state.
func TestAJobGoesOnWhereItsPauseCouldNotBeKept(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.deadLetters(50)
		job := r.start(JobRequest{Action: store.ActionRedrive, Rate: 10})
		settle(time.Second)
		r.store.put.set(func(e store.Entity) error {
			if job, ok := e.(*store.Job); ok && job.State == store.JobPaused {
				return errors.New("no")
			}
			return nil
		})
		if _, err := r.PauseJob(t.Context(), job.ID); err == nil {
			t.Fatal("paused")
		}
		settle(time.Minute)
		r.expectJob(job.ID, store.JobDone, 50, 0)
	})
}
