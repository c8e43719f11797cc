// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"math"
	"testing"
)

// breakage is how many connections broke around one reload, at the relay and at the plain site beside it.
type breakage struct{ relay, plain int }

// falseAlarm is how probable it is, at most, that a relay which breaks connections no more often than a plain site is
// taken for one that does.
const falseAlarm = 1e-4

// excess returns how many more connections broke at the relay than at the plain site, and what that may be by chance.
//
// Both have the same load, so that whatever a reload breaks, and however much of it at once, the difference between the
// two is as likely to be d as -d. Of a sum of terms with such signs Hoeffding's inequality says that it exceeds
// sqrt(2 ln(1/p)) times the root of the sum of their squares with a probability of p at most. Nothing is assumed of
// how many connections a reload breaks.
func excess(all []breakage) (more, bound float64) {
	for _, b := range all {
		d := float64(b.relay - b.plain)
		more += d
		bound += d * d
	}
	return more, math.Sqrt(2 * math.Log(1/falseAlarm) * bound)
}

func TestExcessOfBrokenConnections(t *testing.T) {
	repeat := func(n int, b ...breakage) (all []breakage) {
		for range n {
			all = append(all, b...)
		}
		return all
	}
	for _, tt := range []struct {
		name string
		all  []breakage
		too  bool
	}{
		{"none", nil, false},
		{"the same at both", repeat(50, breakage{3, 3}), false},
		{"one, at the relay", repeat(1, breakage{1, 0}), false},
		{"in bursts at either", append(repeat(5, breakage{9, 0}, breakage{0, 8}), breakage{9, 0}), false},
		{"all of one reload at the relay", append(repeat(49, breakage{0, 0}), breakage{16, 0}), false},
		{"one more in each reload", repeat(50, breakage{1, 0}), true},
		{"twice as many", repeat(50, breakage{2, 1}, breakage{3, 2}), true},
		{"fewer", repeat(50, breakage{0, 1}), false},
	} {
		if more, bound := excess(tt.all); more > bound != tt.too {
			t.Errorf("%s: %.1f more, by chance up to %.1f", tt.name, more, bound)
		}
	}
}
