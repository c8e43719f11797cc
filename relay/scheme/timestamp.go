// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"fmt"
	"strconv"
	"time"
)

// millisecondDigits is the number of digits from which on a bare number counts
// as milliseconds: eleven digits of seconds last until the year 5138.
const millisecondDigits = 12

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
	case !isNumber(text):
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
	n, ok := number(text)
	if !ok {
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

// number reads a decimal number of 1 to 18 digits, without a sign.
func number(text string) (n int64, ok bool) {
	if text == "" || len(text) > 18 {
		return 0, false
	}
	for i := range len(text) {
		digit := text[i] - '0'
		if digit > 9 {
			return 0, false
		}
		n = 10*n + int64(digit)
	}
	return n, true
}

func isNumber(text string) bool {
	_, ok := number(text)
	return ok
}

// fresh reports whether a signed time is within the tolerance of now, which it
// still is at exactly that distance. No fraction of a second is given away: the
// strictest of the providers' libraries count them all.
func (t *Timestamp) fresh(signed, now time.Time) (skew, limit time.Duration, ok bool) {
	limit, enforced := t.tolerance()
	if !enforced {
		return 0, 0, true
	}
	skew = now.Sub(signed) // as long as a Duration can be, for a time that is out of its range
	if t.NoFuture && skew < 0 {
		return skew, 0, false
	}
	return skew, limit, skew.Abs() <= limit
}
