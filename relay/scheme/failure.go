// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Failure says why a request was refused. It wraps ErrMissing, ErrMalformed,
// ErrStale, ErrMismatch or ErrUnavailable. Its text is for the operator; the
// sender gets nothing of it.
type Failure struct { //nolint:errname // it is the outcome of a check, and reads as one: [Verdict] or Failure
	// Scheme is the name of the scheme that refused.
	Scheme string
	// Reason is one of the five sentinels above.
	Reason error
	// Secrets is how many secrets were tried.
	Secrets int
	// Skew is, for a stale signature, how long before now it was signed;
	// negative if it was signed in the future.
	Skew time.Duration
	// Limit is, for a stale signature, the tolerance.
	Limit time.Duration

	note string
	body []byte
}

// Error gives the reason with its detail.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s: %s", f.Scheme, f.Detail())
}

// Unwrap gives the sentinel.
func (f *Failure) Unwrap() error { return f.Reason }

// Label names the reason in one word, for metrics: missing, malformed, stale,
// mismatch or unavailable.
func (f *Failure) Label() string {
	for _, reason := range []struct {
		is    error
		label string
	}{{ErrMissing, "missing"}, {ErrMalformed, "malformed"}, {ErrStale, "stale"}, {ErrUnavailable, "unavailable"}} {
		if errors.Is(f.Reason, reason.is) {
			return reason.label
		}
	}
	return "mismatch"
}

// Status is the HTTP status for the sender: 400 where a required part is
// missing, malformed or stale, 401 where no signature verifies, 503 where the
// key service could not be asked.
func (f *Failure) Status() int {
	switch f.Label() {
	case "missing", "malformed", "stale":
		return http.StatusBadRequest
	case "unavailable":
		return http.StatusServiceUnavailable
	default:
		return http.StatusUnauthorized
	}
}

// Detail says in one line, for the operator, what was wrong. It is computed
// when asked for, so that refusing a flood costs no more than accepting it;
// ask before the body of the request is reused.
func (f *Failure) Detail() string {
	switch {
	case errors.Is(f.Reason, ErrStale):
		return f.stale()
	case errors.Is(f.Reason, ErrMismatch) && f.note == "":
		return f.mismatch()
	default:
		return f.note
	}
}

func (f *Failure) stale() string {
	when := "ago"
	if f.Skew < 0 {
		when = "in the future"
	}
	// Rounded up, so that it is never the limit itself.
	return fmt.Sprintf("signed %.0f s %s, limit %.0f s: clock of this host?",
		math.Ceil(f.Skew.Abs().Seconds()), when, f.Limit.Seconds())
}

func (f *Failure) mismatch() string {
	secrets := "the secret"
	if f.Secrets == 1 {
		secrets = "the one secret"
	} else if f.Secrets > 1 {
		secrets = fmt.Sprintf("none of %d secrets", f.Secrets)
	}
	matches := "matches "
	if f.Secrets == 1 {
		matches = "does not match "
	}
	sum := sha256.Sum256(f.body)
	return fmt.Sprintf("signature %s%s (body %s B sha256 %x..)", matches, secrets, grouped(len(f.body)), sum[:4])
}

// grouped writes n with a comma between groups of three digits.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
