// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"time"
)

// percentile returns the p-th percentile (0 to 100) by the nearest rank. It sorts samples; no samples give 0.
func percentile(samples []int64, p float64) int64 {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	rank := int(math.Ceil(p / 100 * float64(len(samples))))
	return samples[min(max(rank, 1), len(samples))-1]
}

// median returns the middle value, or the mean of the two middle ones; no values give 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// ratio returns a over b, and 0 when either is missing.
func ratio(a, b float64) float64 {
	if a <= 0 || b <= 0 {
		return 0
	}
	return a / b
}

// perSecond returns the rate of n events within d.
func perSecond(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// millis turns nanoseconds into milliseconds.
func millis(nanoseconds int64) float64 { return float64(nanoseconds) / float64(time.Millisecond) }

// mebibytes turns bytes into MiB.
func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }
