// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// millisecondDigits is the number of digits from which on a bare number counts
// as milliseconds: eleven digits of seconds last until the year 5138.
const millisecondDigits = 12

// maxSkew is what a time.Duration can hold, in seconds.
const maxSkew = int64(math.MaxInt64 / time.Second)

// isoUTC is RFC 3339 without a zone; a fraction of a second may follow.
const isoUTC = "2006-01-02T15:04:05"

func (u Unit) check() error {
	switch u {
	case AutoUnit, Seconds, Milliseconds, RFC3339, ISOUTC:
		return nil
	default:
		return fmt.Errorf("%w: unknown unit of time %q (s, ms, rfc3339, iso-utc)", ErrInvalid, u)
	}
}

// of tells the unit in which a time is written.
func (u Unit) of(text string) Unit {
	if u != AutoUnit {
		return u
	}
	switch {
	case !digits(text):
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return ISOUTC
		}
		return RFC3339
	case len(text) >= millisecondDigits:
		return Milliseconds
	default:
		return Seconds
	}
}

// parse reads a time.
func (u Unit) parse(text string) (time.Time, bool) {
	u = u.of(text)
	switch u {
	case RFC3339, ISOUTC:
		layout := time.RFC3339
		if u == ISOUTC {
			layout = isoUTC
		}
		t, err := time.Parse(layout, text)
		return t, err == nil
	}
	if !digits(text) {
		return time.Time{}, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	if u == Milliseconds {
		return time.UnixMilli(n), true
	}
	return time.Unix(n, 0), true
}

// format writes a time.
func (u Unit) format(t time.Time) string {
	switch u {
	case Milliseconds:
		return strconv.FormatInt(t.UnixMilli(), 10)
	case RFC3339:
		return t.UTC().Format(time.RFC3339)
	case ISOUTC:
		return t.UTC().Format(isoUTC)
	default:
		return strconv.FormatInt(t.Unix(), 10)
	}
}

// digits reports whether text is a decimal number of 1 to 18 digits.
func digits(text string) bool {
	if text == "" || len(text) > 18 {
		return false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

// fresh reports whether a signed time is within the tolerance of now. Both are
// taken in whole seconds where the provider writes seconds.
func (t *Timestamp) fresh(signed, now time.Time, unit Unit) (skew, limit time.Duration, ok bool) {
	limit, enforced := t.tolerance()
	if !enforced {
		return 0, 0, true
	}
	if unit == Seconds {
		skew = time.Duration(min(max(now.Unix()-signed.Unix(), -maxSkew), maxSkew)) * time.Second
	} else {
		skew = now.Sub(signed)
	}
	if t.NoFuture && skew < 0 {
		return skew, 0, false
	}
	return skew, limit, skew <= limit && -skew <= limit
}
