// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

// illegibles is a store in which some entities can not be read.
type illegibles struct {
	store.Store
	mu   sync.Mutex
	keys map[store.EntityKey]bool
}

// rot has an entity not be readable any more.
func (s *illegibles) rot(key store.EntityKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[key] = true
}

func (s *illegibles) rotted(key store.EntityKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[key]
}

func (s *illegibles) Close() error { return nil }

func (s *illegibles) Entity(ctx context.Context, key store.EntityKey) (store.Entity, error) {
	e, err := s.Store.Entity(ctx, key)
	if err == nil && s.rotted(key) {
		return nil, store.ErrCorrupt
	}
	return e, err
}

func (s *illegibles) ListEntities(ctx context.Context, q store.EntityQuery) ([]store.Entity, error) {
	page, err := s.Store.ListEntities(ctx, q)
	for i, e := range page {
		if s.rotted(e.Key()) {
			page[i] = &store.Illegible{EntityKey: e.Key(), Err: store.ErrCorrupt}
		}
	}
	return page, err
}

func (s *illegibles) PutEntity(ctx context.Context, e store.Entity) error {
	if s.rotted(e.Key()) {
		return store.ErrCorrupt
	}
	return s.Store.PutEntity(ctx, e)
}

// rotting runs a test with a rig on such a store.
func rotting(t *testing.T, test func(t *testing.T, r *rig, st *illegibles)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := &illegibles{Store: memory.New(memory.Options{}), keys: make(map[store.EntityKey]bool)}
		r := newRigOn(t, &intercepted{Store: st}, nil)
		test(t, r, st)
		r.close()
	})
}

// restart puts a new engine in the place of that of the rig.
func (r *rig) restart() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Error(err)
	}
	r.Engine = New(Options{Logger: r.log, Open: func(context.Context) (store.Store, error) { return r.store, nil }})
	r.Attach(r.generation)
	if err := r.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func TestAJobThatCanNotBeReadHidesNoOtherAndCanBeForgotten(t *testing.T) {
	rotting(t, func(t *testing.T, r *rig, st *illegibles) {
		r.deadLetters(200)
		slow := JobRequest{Action: store.ActionRedrive, Rate: 10}
		harmed, other := r.start(slow), r.start(slow)
		settle(time.Second)
		st.rot(harmed.Key())
		settle(time.Second)
		r.restart()
		if r.said.FilterMessageSnippet("a job can not be read").Len() != 1 {
			t.Error("nothing was said of it at the start")
		}
		jobs, err := r.Jobs(t.Context())
		if err != nil || len(jobs) != 2 || jobs[0].ID != other.ID || jobs[0].Err != nil || jobs[0].State != store.JobRunning {
			t.Fatalf("jobs are %+v, error %v", jobs, err)
		}
		one, err := r.Job(t.Context(), harmed.ID)
		for _, j := range []JobStatus{jobs[1], one} {
			if err != nil || j.ID != harmed.ID || !errors.Is(j.Err, store.ErrCorrupt) || j.CreatedAt.Sub(harmed.CreatedAt).Abs() > time.Second {
				t.Errorf("the one that can not be read is %+v, error %v", j, err)
			}
		}
		if _, err := r.CancelJob(t.Context(), harmed.ID); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("canceling it: %v", err)
		}
		if _, err := r.StartJob(t.Context(), slow); err != nil {
			t.Errorf("starting another beside it: %v", err)
		}
		if err := r.ForgetJob(t.Context(), harmed.ID); err != nil {
			t.Errorf("forgetting it: %v", err)
		}
		if jobs, err = r.Jobs(t.Context()); err != nil || len(jobs) != 2 {
			t.Errorf("jobs are %+v after that, error %v", jobs, err)
		}
	})
}

// TestAJobStopsWhoseRecordCanNotBeReadAnyMore has it rot while the job is worked on.
func TestAJobStopsWhoseRecordCanNotBeReadAnyMore(t *testing.T) {
	rotting(t, func(t *testing.T, r *rig, st *illegibles) {
		r.deadLetters(200)
		job := r.start(JobRequest{Action: store.ActionRedrive, Rate: 10})
		settle(time.Second)
		st.rot(job.Key())
		settle(time.Hour / 4)
		if n := r.upstream.count(); n == 400 || r.said.FilterMessageSnippet("job stops").Len() != 1 {
			t.Errorf("%d attempts, and it was said %d times that the job stops", n, r.said.FilterMessageSnippet("job stops").Len())
		}
		if err := r.ForgetJob(t.Context(), job.ID); err != nil {
			t.Errorf("forgetting it: %v", err)
		}
	})
}

func TestAPauseThatCanNotBeReadHoldsUntilItIsResumed(t *testing.T) {
	rotting(t, func(t *testing.T, r *rig, st *illegibles) {
		r.pause("d")
		pause := store.Pause{Destination: "d"}
		st.rot(pause.Key())
		r.restart()
		id := r.accept("a").ID
		settle(time.Minute)
		if d := r.delivery(id); d.Attempts != 0 {
			t.Errorf("%d attempts while it is paused", d.Attempts)
		}
		if pauses, err := r.Pauses(t.Context()); err != nil || len(pauses) != 1 || pauses["d"].Reason == "maintenance" {
			t.Errorf("pauses are %+v, error %v", pauses, err)
		}
		if _, err := r.Pause(t.Context(), "d", "once more"); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("pausing it once more: %v", err)
		}
		if err := r.Resume(t.Context(), "d"); err != nil {
			t.Errorf("resuming it: %v", err)
		}
		settle(time.Minute)
		r.expect(id, store.Delivered, 1)
	})
}
