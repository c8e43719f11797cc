// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/retry"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// How long a delivery waits that met a mistake in the configuration. Such an
// attempt does not count, and only a person can help; the gap doubles with every
// attempt, as each of them is recorded.
const (
	unhandledFirst   = time.Minute
	unhandledLongest = 15 * time.Minute
)

// maxErrorText bounds the error text that is kept with an attempt.
const maxErrorText = 500

// conclude decides what becomes of a delivery of some age after an attempt, and
// whether the attempt counts and is recorded. That is not so where it was made
// before its time and found the destination down: what the breaker tries early
// must not use up the attempts of a delivery. It is a pure function of its
// arguments.
func conclude(t *target, d *store.Delivery, r Result, started, now time.Time, age time.Duration) (f store.Finish, counts bool) {
	f = store.Finish{Lease: d.Lease(), Hold: t.Hold && d.Place != 0, Attempt: &store.Attempt{
		StartedAt: started, Duration: now.Sub(started),
		Outcome: r.Outcome, Status: r.Status, Head: r.Head, Error: errorText(r.Err),
	}}
	switch r.Outcome {
	case store.Succeeded:
		f.State = store.Delivered
	case store.Quarantined, store.Poisoned:
		f.State = store.Dead
	case store.Aborted:
		f.State = store.Pending
	case store.Unhandled:
		f.State, f.Delay = store.Waiting, retry.Jitter(unhandledGap(d.Attempts), seed(d))
	default:
		return failed(t, d, r, f, age)
	}
	return f, true
}

// failed decides what becomes of a delivery after a failure of its destination.
func failed(t *target, d *store.Delivery, r Result, f store.Finish, age time.Duration) (store.Finish, bool) {
	tries := int(d.Tries) + 1
	ahead := conditionOf(r) == down && early(t.Retry.Policy, int(d.Tries), age)
	if ahead {
		tries--
	}
	gap, again := t.Retry.Next(retry.Failure{
		Tries: tries, Status: r.Status, Elapsed: age, RetryAfter: r.RetryAfter, Seed: seed(d),
	})
	f.State, f.Delay = store.Waiting, gap
	if !again {
		f.State = store.Dead
	}
	return f, !ahead || !again
}

// early reports whether a delivery of this age that has been tried so often
// would not be tried yet if it had only waited as the policy says.
func early(p retry.Policy, tries int, age time.Duration) bool {
	// What the jitter may take from the gaps, it may take from their sum.
	shortest := func(d time.Duration) time.Duration { return d - d/5 }
	if last := p.GiveUpAge(); last > 0 && age >= shortest(last) {
		return false
	}
	var due time.Duration
	for n := 1; n <= tries; n++ {
		gap, ok := p.Gap(n)
		if !ok {
			break
		}
		if due += shortest(gap); age < due {
			return true
		}
	}
	return false
}

// unhandledGap returns how long a delivery waits that met a mistake in the
// configuration after so many attempts before.
func unhandledGap(attempts uint32) time.Duration {
	return min(unhandledFirst<<min(attempts, 8), unhandledLongest)
}

// seed chooses the jitter of a delivery's next gap.
func seed(d *store.Delivery) uint64 {
	return binary.BigEndian.Uint64(d.ID.Message[8:]) + uint64(d.Attempts)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	// The cut may go through a character, and what others write is not always text.
	return strings.ToValidUTF8(text[:min(len(text), maxErrorText)], "\uFFFD")
}
