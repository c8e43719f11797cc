// SPDX-License-Identifier: Apache-2.0

package retry

import "time"

// Policy says how long to wait between attempts.
type Policy interface {
	// Gap returns how long to wait after the tries-th failed attempt, counted from
	// 1. It returns false when no further attempt is to be made.
	Gap(tries int) (time.Duration, bool)

	// GiveUpAge returns the age at which the last attempt is made, counted from
	// when the delivery first became due; 0 where age does not matter.
	GiveUpAge() time.Duration
}

// Exponential doubles the gap after every failure.
type Exponential struct {
	// First is the gap after the first failure.
	First time.Duration
	// Longest bounds the gap; 0 does not bound.
	Longest time.Duration
	// GiveUpAfter is the age at which the last attempt is made; 0 means never.
	GiveUpAfter time.Duration
}

// Gap doubles First with every failure up to Longest.
func (p Exponential) Gap(tries int) (time.Duration, bool) {
	longest := p.Longest
	if longest <= 0 {
		longest = maxGap
	}
	gap := p.First
	for range tries - 1 {
		if gap <= 0 || gap >= longest {
			break
		}
		if gap > maxGap/2 {
			return longest, true
		}
		gap *= 2
	}
	return min(gap, longest), true
}

// GiveUpAge returns GiveUpAfter.
func (p Exponential) GiveUpAge() time.Duration { return p.GiveUpAfter }

// maxGap is more than anybody waits, and far from where durations overflow.
const maxGap = 100 * 365 * 24 * time.Hour

// Fixed waits the same time after every failure.
type Fixed struct {
	// Every is the gap.
	Every time.Duration
	// GiveUpAfter is the age at which the last attempt is made; 0 means never.
	GiveUpAfter time.Duration
}

// Gap returns the same gap for every failure.
func (p Fixed) Gap(int) (time.Duration, bool) { return p.Every, true }

// GiveUpAge returns GiveUpAfter.
func (p Fixed) GiveUpAge() time.Duration { return p.GiveUpAfter }

// Schedule lists the gaps one by one; after the last one the delivery is given
// up. An empty schedule means that nothing is ever retried.
type Schedule []time.Duration

// Gap returns the gap at the place of the failure.
func (p Schedule) Gap(tries int) (time.Duration, bool) {
	if tries < 1 || tries > len(p) {
		return 0, false
	}
	return p[tries-1], true
}

// GiveUpAge returns 0: a schedule ends with its last gap, at whatever age.
func (p Schedule) GiveUpAge() time.Duration { return 0 }

// Off never retries.
func Off() Policy { return Schedule(nil) }
