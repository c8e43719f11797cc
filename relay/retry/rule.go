// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"net/http"
	"slices"
	"time"
)

// MaxRetryAfter bounds how long a destination can put off the next attempt with
// a Retry-After header.
const MaxRetryAfter = 24 * time.Hour

// jitter is the largest part by which a gap is made shorter or longer, in
// percent, so that deliveries that failed together do not return together.
const jitter = 20

// Rule is all that decides over a failed delivery.
type Rule struct {
	// Policy says how long to wait. It must not be nil.
	Policy Policy

	// Attempts bounds how many attempts are made; 0 does not bound.
	Attempts int

	// On, when not empty, lists the only statuses that are retried. An attempt that
	// got no status is retried in any case.
	On []int

	// Never lists statuses that are not retried.
	Never []int
}

// Failure is a failed attempt.
type Failure struct {
	// Tries is the number of attempts made so far, this one included.
	Tries int

	// Status is the HTTP status of the answer, 0 where none came.
	Status int

	// Elapsed is the time since the delivery first became due.
	Elapsed time.Duration

	// RetryAfter is what the answer's Retry-After header asked for, 0 for nothing.
	RetryAfter time.Duration

	// Seed chooses the jitter; the same seed gives the same one.
	Seed uint64
}

// Default returns the rule for forwards: exponential from one second, at most
// 15 minutes apart, for 72 hours, and not at all after Permanent.
func Default() Rule {
	return Rule{
		Policy: Exponential{First: time.Second, Longest: 15 * time.Minute, GiveUpAfter: 72 * time.Hour},
		Never:  Permanent(),
	}
}

// Permanent returns the statuses that are not retried unless a rule says
// otherwise: 410, with which a destination says that it is gone for good.
func Permanent() []int { return []int{http.StatusGone} }

// Next returns how long to wait before the next attempt, or false when the
// delivery is dead. The wait ends at the latest at the age at which the policy
// gives up, so that the last attempt is made there and not somewhere before or
// after it.
func (r Rule) Next(f Failure) (time.Duration, bool) {
	if r.Attempts > 0 && f.Tries >= r.Attempts || !r.Retries(f.Status) {
		return 0, false
	}
	gap, ok := r.Policy.Gap(f.Tries)
	if !ok {
		return 0, false
	}
	gap = max(Jitter(gap, f.Seed), min(f.RetryAfter, MaxRetryAfter))
	age := r.Policy.GiveUpAge()
	if age <= 0 {
		return gap, true
	}
	left := age - f.Elapsed
	if left <= 0 {
		return 0, false
	}
	return min(gap, left), true
}

// Retries reports whether an attempt that got this status is retried at all.
func (r Rule) Retries(status int) bool {
	if status == 0 {
		return true
	}
	if len(r.On) > 0 && !slices.Contains(r.On, status) {
		return false
	}
	return !slices.Contains(r.Never, status)
}

// Jitter makes a gap up to 20 % shorter or longer, as the seed decides.
func Jitter(gap time.Duration, seed uint64) time.Duration {
	// The finalizer of SplitMix64 spreads neighbouring seeds evenly.
	z := seed + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	part := float64(z>>11)/(1<<53)*2 - 1
	return gap + time.Duration(float64(gap)*part*jitter/100)
}
