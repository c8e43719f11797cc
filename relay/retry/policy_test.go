// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-relay/caddy-relay/relay/retry"
)

func TestPoliciesGiveTheGapsTheyPromise(t *testing.T) {
	const dead = -1
	for _, tt := range []struct {
		name   string
		policy retry.Policy
		want   []time.Duration
	}{
		{
			"exponential doubles up to the longest",
			retry.Exponential{First: time.Second, Longest: 10 * time.Second},
			[]time.Duration{1e9, 2e9, 4e9, 8e9, 10e9, 10e9, 10e9},
		},
		{
			"exponential whose first gap is over the longest",
			retry.Exponential{First: time.Minute, Longest: time.Second},
			[]time.Duration{1e9, 1e9},
		},
		{"exponential without a longest", retry.Exponential{First: time.Second}, []time.Duration{1e9, 2e9, 4e9, 8e9}},
		{"exponential of nothing", retry.Exponential{Longest: time.Second}, []time.Duration{0, 0}},
		{"fixed", retry.Fixed{Every: 5 * time.Second}, []time.Duration{5e9, 5e9, 5e9}},
		{"schedule ends", retry.Schedule{time.Second, time.Minute}, []time.Duration{1e9, 60e9, dead, dead}},
		{"off", retry.Off(), []time.Duration{dead}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []time.Duration
			for tries := range len(tt.want) {
				gap, ok := tt.policy.Gap(tries + 1)
				if !ok {
					gap = dead
				}
				got = append(got, gap)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("gaps are %v, want %v", got, tt.want)
			}
		})
	}
}

func TestExponentialGapsGrowAndNeverOverflow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.Int64Range(1, math.MaxInt64)
		p := retry.Exponential{First: time.Duration(durations.Draw(t, "first")), Longest: time.Duration(durations.Draw(t, "longest"))}
		last := time.Duration(0)
		for tries := range 80 {
			gap, ok := p.Gap(tries + 1)
			if !ok || gap < last || gap <= 0 || gap > p.Longest {
				t.Fatalf("gap %d is %d, %v after %d, with the longest %d", tries+1, gap, ok, last, p.Longest)
			}
			last = gap
		}
	})
}
