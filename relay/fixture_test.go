// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hook is a function that a test puts into something that is in use.
type hook[F any] struct {
	mu sync.Mutex
	f  F
}

func (h *hook[F]) set(f F) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.f = f
}

func (h *hook[F]) get() F {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.f
}

// intercepted is a store with functions that run before its methods. An error
// from one of them is what the method returns.
type intercepted struct {
	store.Store
	accept   hook[func(batch []store.Acceptance) error]
	claim    hook[func(req store.ClaimRequest) error]
	finish   hook[func(batch []store.Finish) error]
	hasten   hook[func(limit int) error]
	operate  hook[func(batch []store.Operation) error]
	message  hook[func(id store.MessageID) error]
	remember hook[func() error]
	changed  hook[func(m *store.Message)]
	put      hook[func(e store.Entity) error]
	entity   hook[func(key store.EntityKey) error]
	list     hook[func(q store.DeliveryQuery) error]
	closed   hook[func()]
	health   hook[func(h *store.Health)]
	age      hook[func(age time.Duration) time.Duration]

	// journal is the path of a journal, empty for none.
	journal string
}

func (s *intercepted) Caps() store.Caps {
	caps := s.Store.Caps()
	caps.Journal = s.journal
	return caps
}

func (s *intercepted) Accept(ctx context.Context, batch []store.Acceptance) ([]store.Accepted, error) {
	if before := s.accept.get(); before != nil {
		if err := before(batch); err != nil {
			return nil, err
		}
	}
	return s.Store.Accept(ctx, batch)
}

func (s *intercepted) Claim(ctx context.Context, req store.ClaimRequest) (store.Claimed, error) {
	if before := s.claim.get(); before != nil {
		if err := before(req); err != nil {
			return store.Claimed{}, err
		}
	}
	return s.Store.Claim(ctx, req)
}

func (s *intercepted) Finish(ctx context.Context, batch []store.Finish) ([]store.Finished, error) {
	if before := s.finish.get(); before != nil {
		if err := before(batch); err != nil {
			return nil, err
		}
	}
	return s.Store.Finish(ctx, batch)
}

func (s *intercepted) Hasten(ctx context.Context, destination string, limit int) (int, error) {
	if before := s.hasten.get(); before != nil {
		if err := before(limit); err != nil {
			return 0, err
		}
	}
	return s.Store.Hasten(ctx, destination, limit)
}

func (s *intercepted) Operate(ctx context.Context, batch []store.Operation) ([]store.Operated, error) {
	if before := s.operate.get(); before != nil {
		if err := before(batch); err != nil {
			return nil, err
		}
	}
	return s.Store.Operate(ctx, batch)
}

func (s *intercepted) Message(ctx context.Context, id store.MessageID) (*store.Message, error) {
	if before := s.message.get(); before != nil {
		if err := before(id); err != nil {
			return nil, err
		}
	}
	m, err := s.Store.Message(ctx, id)
	if after := s.changed.get(); err == nil && after != nil {
		after(m)
	}
	return m, err
}

func (s *intercepted) Remember(ctx context.Context, key store.DedupeKey, id store.MessageID, window time.Duration) (store.Sighting, error) {
	if before := s.remember.get(); before != nil {
		if err := before(); err != nil {
			return store.Sighting{}, err
		}
	}
	return s.Store.Remember(ctx, key, id, window)
}

func (s *intercepted) PutEntity(ctx context.Context, e store.Entity) error {
	if before := s.put.get(); before != nil {
		if err := before(e); err != nil {
			return err
		}
	}
	return s.Store.PutEntity(ctx, e)
}

func (s *intercepted) Entity(ctx context.Context, key store.EntityKey) (store.Entity, error) {
	if before := s.entity.get(); before != nil {
		if err := before(key); err != nil {
			return nil, err
		}
	}
	return s.Store.Entity(ctx, key)
}

func (s *intercepted) ListDeliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	if before := s.list.get(); before != nil {
		if err := before(q); err != nil {
			return nil, err
		}
	}
	return s.Store.ListDeliveries(ctx, q)
}

func (s *intercepted) Age(t time.Time) time.Duration {
	age := s.Store.Age(t)
	if counted := s.age.get(); counted != nil {
		return counted(age)
	}
	return age
}

func (s *intercepted) Health() store.Health {
	h := s.Store.Health()
	if after := s.health.get(); after != nil {
		after(&h)
	}
	return h
}

func (s *intercepted) Close() error {
	if before := s.closed.get(); before != nil {
		before()
	}
	return s.Store.Close()
}

// kept is a store whose Close keeps the data, as a disk does.
type kept struct{ store.Store }

func (kept) Close() error { return nil }

// upstream makes attempts with a function and remembers them.
type upstream struct {
	answer func(ctx context.Context, a Attempt) Result

	mu       sync.Mutex
	attempts []Attempt
	running  int
	most     int
}

func (u *upstream) Deliver(ctx context.Context, a Attempt) Result {
	u.mu.Lock()
	u.attempts = append(u.attempts, a)
	u.running++
	u.most = max(u.most, u.running)
	answer := u.answer
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.running--
	}()
	if answer == nil {
		return succeeds(ctx, a)
	}
	return answer(ctx, a)
}

// set changes how attempts are answered from now on, nil for well.
func (u *upstream) set(answer func(ctx context.Context, a Attempt) Result) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = answer
}

// count returns how many attempts have begun.
func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.attempts)
}

// bodies returns the bodies in the order of their attempts.
func (u *upstream) bodies() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var bodies []string
	for _, a := range u.attempts {
		bodies = append(bodies, string(a.Message.Request.Body))
	}
	return bodies
}

// succeeds answers with 200.
func succeeds(context.Context, Attempt) Result {
	return Result{Outcome: store.Succeeded, Status: http.StatusOK}
}

// refuses answers with 503.
func refuses(context.Context, Attempt) Result {
	return Result{Outcome: store.Refused, Status: http.StatusServiceUnavailable, Err: fmt.Errorf("answered 503")}
}

// hangs until it is cut off.
func hangs(ctx context.Context, _ Attempt) Result {
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return Result{Outcome: store.TimedOut, Err: ctx.Err()}
	}
	return Result{Outcome: store.Aborted, Err: context.Cause(ctx)}
}

// rig is an engine with one store and one destination, "d".
type rig struct {
	*Engine
	t          *testing.T
	store      *intercepted
	upstream   *upstream
	generation *Generation
	// said holds what the engine has told the operator.
	said *observer.ObservedLogs
	// opens counts the openings of the store, which beforeOpen may fail.
	opens      int
	beforeOpen hook[func(opens int) error]
}

// newRig starts an engine on a memory store and closes it after the test.
func newRig(t *testing.T, answer func(ctx context.Context, a Attempt) Result) *rig {
	return newRigOn(t, &intercepted{Store: kept{memory.New(memory.Options{})}}, answer)
}

// newRigOn is newRig with a store.
func newRigOn(t *testing.T, st *intercepted, answer func(ctx context.Context, a Attempt) Result) *rig {
	r := &rig{t: t, store: st, upstream: &upstream{answer: answer}}
	core, said := observer.New(zap.InfoLevel)
	r.said = said
	r.Engine = New(Options{Logger: zap.New(core), Open: func(context.Context) (store.Store, error) {
		r.opens++
		if before := r.beforeOpen.get(); before != nil {
			if err := before(r.opens); err != nil {
				return nil, err
			}
		}
		return r.store, nil
	}})
	r.generation = r.to(Destination{ID: "d", Deliverer: r.upstream, Retry: retry.Default()})
	r.Attach(r.generation)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) to(destinations ...Destination) *Generation {
	return &Generation{Destinations: destinations, DedupeWindow: 24 * time.Hour, Retention: time.Hour, RetentionDead: time.Hour}
}

// inbound makes a message with a body for the destinations, "d" for none. The
// body is the identity too, unless it is empty.
func (r *rig) inbound(body string, destinations ...string) Inbound {
	in := Inbound{
		Message: &store.Message{Source: "s", ReceivedAt: time.Now().UTC(), Request: store.Request{Method: "POST", Body: []byte(body)}},
		Window:  24 * time.Hour,
	}
	if body != "" {
		in.Identity = [][]byte{[]byte(body)}
	}
	if len(destinations) == 0 {
		destinations = []string{"d"}
	}
	for _, d := range destinations {
		in.Targets = append(in.Targets, Target{Destination: d})
	}
	in.Reservation = r.Budget().Reserve("s")
	if !in.Reservation.Grow(int64(len(body))) {
		r.t.Fatal("no memory for the body")
	}
	return in
}

// accept accepts a message that must be taken.
func (r *rig) accept(body string, destinations ...string) Receipt {
	r.t.Helper()
	receipt, err := r.Accept(r.t.Context(), r.inbound(body, destinations...))
	if err != nil {
		r.t.Fatalf("accepting %q: %v", body, err)
	}
	return receipt
}

// delivery returns the first delivery of a message.
func (r *rig) delivery(id store.MessageID) store.Delivery {
	r.t.Helper()
	deliveries, err := r.store.Deliveries(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return deliveries[0]
}

// expect checks the state of the first delivery of a message and how many
// attempts of it were recorded.
func (r *rig) expect(id store.MessageID, state store.State, attempts uint32) {
	r.t.Helper()
	if d := r.delivery(id); d.State != state || d.Attempts != attempts {
		r.t.Errorf("delivery is %s after %d attempts, want %s after %d", d.State, d.Attempts, state, attempts)
	}
}

// outcomes returns the recorded outcomes of the first delivery of a message.
func (r *rig) outcomes(id store.MessageID) []store.Outcome {
	r.t.Helper()
	attempts, err := r.store.Attempts(context.Background(), store.DeliveryID{Message: id, N: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	var outcomes []store.Outcome
	for _, a := range attempts {
		outcomes = append(outcomes, a.Outcome)
	}
	return outcomes
}

// settle lets the bubble's time pass.
func settle(d time.Duration) {
	time.Sleep(d) // virtual: only ever called inside a synctest bubble
	synctest.Wait()
}

// close closes the engine and checks what must hold after that: the memory and
// the places are free, and the books balance.
func (r *rig) close() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Errorf("closing: %v", err)
	}
	synctest.Wait()
	if used := r.Budget().Used(); used != 0 {
		r.t.Errorf("%d bytes of the budget are still taken", used)
	}
	for id, q := range r.current.Load().dispatcher.scheduler.queues {
		if q.reserved != 0 || q.waiting() != 0 {
			r.t.Errorf("%s still has %d reserved places and %d deliveries", id, q.reserved, q.waiting())
		}
	}
	r.balanced()
}

func (r *rig) balanced() {
	r.t.Helper()
	books, err := r.store.Books(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	open, err := r.store.Store.ListDeliveries(context.Background(), store.DeliveryQuery{Open: true, Limit: 1 << 20})
	if err != nil {
		r.t.Fatal(err)
	}
	sizes := make(map[string]uint64)
	for i := range open {
		sizes[open[i].Destination] += uint64(open[i].BodySize)
	}
	for destination, b := range books {
		if !b.Balanced() || b.OpenBytes != sizes[destination] {
			r.t.Errorf("books of %s do not balance: %+v, with %d open bytes", destination, b, sizes[destination])
		}
	}
}

// bubble runs a test in a synctest bubble with a rig that is closed after it.
func bubble(t *testing.T, answer func(ctx context.Context, a Attempt) Result, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, answer)
		test(t, r)
		r.close()
	})
}
