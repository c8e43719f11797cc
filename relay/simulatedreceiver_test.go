// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// receiver is the upstream that stands behind a destination.
type receiver struct {
	name  string
	phase phase
	since time.Time

	// inForce is the target that the running process has for it, nil for none, and
	// changed is when that was last another one.
	inForce *target
	changed time.Time

	// paused says that an operator has paused the destination.
	paused bool
}

// mayTry reports whether deliveries may be tried.
func (u *receiver) mayTry() bool { return u.inForce != nil && !u.paused }

// phase is how a receiver behaves for a while.
type phase int

const (
	// well: it answers soon, and refuses one in a hundred.
	well phase = iota
	// sluggish: it takes its time, sometimes too much.
	sluggish
	// refusing: it answers with errors.
	refusing
	// gone: it answers with what is never retried.
	gone
	// throttling: it asks to be left alone.
	throttling
	// down: it does not answer.
	unreachable
	// hanging: it takes requests and says nothing.
	hanging
	// flapping: every attempt is as in another phase.
	flapping
	// misconfigured: nothing in the chain of handlers answers.
	misconfigured
	phases
)

// turn puts the receiver into a phase.
func (u *receiver) turn(s *simulation, to phase) {
	if u.phase == to {
		return
	}
	s.note("receiver %s turns from %d to %d", u.name, u.phase, to)
	u.phase, u.since = to, s.passed
	if to == well {
		s.lookSoon()
	}
}

// wellAnswer is the longest that a receiver takes that is well.
const wellAnswer = 400 * time.Millisecond

// answer returns how an attempt ends, and how long it takes.
func (u *receiver) answer(s *simulation, t *target) (r Result, took time.Duration) {
	now := u.phase
	if now == flapping {
		now = phase(s.random.IntN(int(flapping)))
	}
	soon := s.upTo(wellAnswer)
	switch now {
	case well:
		if s.chance(100) && s.faults {
			return Result{Outcome: store.Refused, Status: http.StatusInternalServerError}, soon
		}
		return Result{Outcome: store.Succeeded, Status: http.StatusOK}, soon
	case sluggish:
		if took = s.upTo(t.Timeout * 26 / 25); took < t.Timeout {
			return Result{Outcome: store.Succeeded, Status: http.StatusAccepted}, took
		}
	case refusing:
		status := []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusConflict}[s.random.IntN(3)]
		return Result{Outcome: store.Refused, Status: status}, soon
	case gone:
		return Result{Outcome: store.Refused, Status: http.StatusGone}, soon
	case throttling:
		status := []int{http.StatusTooManyRequests, http.StatusServiceUnavailable}[s.random.IntN(2)]
		return Result{Outcome: store.Refused, Status: status, RetryAfter: s.upTo(30 * time.Minute)}, soon
	case unreachable:
		if s.chance(4) {
			return Result{Outcome: store.Broken, Err: errors.New("panic: simulated")}, soon
		}
		return Result{Outcome: store.Unreachable, Err: errors.New("connection refused")}, soon
	case misconfigured:
		return Result{Outcome: store.Unhandled}, soon
	case hanging:
		s.sometimes("hangs")
	}
	return Result{Outcome: store.TimedOut}, t.Timeout
}

// outcomeNoted says in words what an attempt came to.
func (s *simulation) outcomeNoted(r Result) {
	switch r.Outcome {
	case store.Refused:
		s.sometimes("refused")
	case store.TimedOut:
		s.sometimes("timed out")
	case store.Broken:
		s.sometimes("broken")
	case store.Unreachable:
		s.sometimes("unreachable")
	case store.Unhandled:
		s.sometimes("unhandled")
	case store.Aborted:
		s.sometimes("cut off")
	}
	if r.RetryAfter > 0 {
		s.sometimes("retry-after")
	}
}

// target returns a configuration of the destination.
func (u *receiver) target(s *simulation) *target {
	slots := []int{1, 2, 3, 5, 8, 64, 64, 2000}[s.random.IntN(8)]
	if s.crowded {
		slots = 2000
	}
	rule := retry.Default()
	switch s.random.IntN(4) {
	case 0:
		rule.Policy = retry.Fixed{Every: time.Minute, GiveUpAfter: 6 * time.Hour}
	case 1:
		rule.Policy = retry.Schedule{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour}
	}
	rule.Never = []int{http.StatusGone}
	timeout := []time.Duration{5 * time.Second, DefaultTimeout}[s.random.IntN(2)]
	rate := []RateLimit{{}, {}, {Events: 20, Window: time.Second}, {Events: 100, Window: time.Minute}}[s.random.IntN(4)]
	if s.crowded {
		rate = RateLimit{}
	}
	return newTarget(Destination{
		ID: u.name, MaxInFlight: slots, Timeout: timeout, Retry: rule, Rate: rate, Hold: s.chance(4),
	}, zap.NewNop())
}

// receiver returns the receiver of a destination.
func (s *simulation) receiver(name string) *receiver {
	for _, u := range s.receivers {
		if u.name == name {
			return u
		}
	}
	panic("no destination " + name)
}
