// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-relay/caddy-relay/relay/retry"
)

func TestP8_DefaultIsSeventyTwoHoursAtMostFifteenMinutesApart(t *testing.T) {
	p, ok := retry.Default().Policy.(retry.Exponential)
	want := retry.Exponential{First: time.Second, Longest: 15 * time.Minute, GiveUpAfter: 72 * time.Hour}
	if !ok || p != want {
		t.Errorf("default policy is %+v, want %+v", retry.Default().Policy, want)
	}
}

func TestP8_RuleDecidesByStatusAndAttempts(t *testing.T) {
	fixed := retry.Fixed{Every: time.Second}
	for _, tt := range []struct {
		name    string
		rule    retry.Rule
		failure retry.Failure
		want    bool
	}{
		{"any status", retry.Rule{Policy: fixed}, retry.Failure{Tries: 1, Status: 404}, true},
		{"no status", retry.Rule{Policy: fixed}, retry.Failure{Tries: 1}, true},
		{"a redirect", retry.Rule{Policy: fixed}, retry.Failure{Tries: 1, Status: 301}, true},
		{"listed in on", retry.Rule{Policy: fixed, On: []int{500, 503}}, retry.Failure{Tries: 1, Status: 503}, true},
		{"not listed in on", retry.Rule{Policy: fixed, On: []int{500, 503}}, retry.Failure{Tries: 1, Status: 400}, false},
		{"no status despite on", retry.Rule{Policy: fixed, On: []int{500}}, retry.Failure{Tries: 1}, true},
		{"listed in never", retry.Rule{Policy: fixed, Never: []int{410}}, retry.Failure{Tries: 1, Status: 410}, false},
		{"not listed in never", retry.Rule{Policy: fixed, Never: []int{410}}, retry.Failure{Tries: 1, Status: 500}, true},
		{"in both", retry.Rule{Policy: fixed, On: []int{410}, Never: []int{410}}, retry.Failure{Tries: 1, Status: 410}, false},
		{"attempts left", retry.Rule{Policy: fixed, Attempts: 3}, retry.Failure{Tries: 2, Status: 500}, true},
		{"attempts used up", retry.Rule{Policy: fixed, Attempts: 3}, retry.Failure{Tries: 3, Status: 500}, false},
		{"attempts used up without a status", retry.Rule{Policy: fixed, Attempts: 3}, retry.Failure{Tries: 4}, false},
		{"off", retry.Rule{Policy: retry.Off()}, retry.Failure{Tries: 1, Status: 500}, false},
		{"off despite Retry-After", retry.Rule{Policy: retry.Off()}, retry.Failure{Tries: 1, Status: 503, RetryAfter: time.Second}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, got := tt.rule.Next(tt.failure); got != tt.want {
				t.Errorf("Next says %v, want %v", got, tt.want)
			}
		})
	}
}

func TestP8_RetryAfterIsHonouredUpToADay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy retry.Policy
		asked  time.Duration
		want   time.Duration
	}{
		{"longer than the gap", retry.Fixed{Every: time.Second}, time.Hour, time.Hour},
		{"longer than a day", retry.Fixed{Every: time.Second}, 400 * time.Hour, 24 * time.Hour},
		{"shorter than the gap", retry.Schedule{100 * time.Hour}, time.Second, 0},
		{"negative", retry.Fixed{Every: time.Second}, -time.Hour, 0},
		{"beyond the age of giving up", retry.Fixed{Every: time.Second, GiveUpAfter: 2 * time.Hour}, 5 * time.Hour, 110 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want == 0 {
				gap, _ := tt.policy.Gap(1)
				want = retry.Jitter(gap, 7)
			}
			f := retry.Failure{Tries: 1, Status: 503, Elapsed: 10 * time.Minute, RetryAfter: tt.asked, Seed: 7}
			got, ok := retry.Rule{Policy: tt.policy}.Next(f)
			if !ok || got != want {
				t.Errorf("Next is %v, %v, want %v", got, ok, want)
			}
		})
	}
}

func TestP8_JitterStaysWithinTwentyPercentAndSpreads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gap := time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "gap"))
		seed := rapid.Uint64().Draw(t, "seed")
		got := retry.Jitter(gap, seed)
		if got < gap*8/10-1 || got > gap*12/10+1 {
			t.Fatalf("jitter made %v of %v", got, gap)
		}
		if got != retry.Jitter(gap, seed) {
			t.Fatal("the same seed gave another jitter")
		}
	})
	// Neighbouring seeds, as the attempts of one delivery have them, fall into all
	// parts of the range.
	var parts [8]int
	for seed := range uint64(8000) {
		parts[(retry.Jitter(100*time.Second, seed)-80*time.Second)*8/(40*time.Second+1)]++
	}
	for i, n := range parts {
		if n < 800 || n > 1200 {
			t.Errorf("part %d of the range got %d of 8000, want about 1000", i, n)
		}
	}
}

func TestP8_LastAttemptFallsOnTheAgeOfGivingUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Hour)).Draw(t, "first"))
		giveUp := time.Duration(rapid.Int64Range(int64(time.Minute), int64(200*time.Hour)).Draw(t, "give up after"))
		policies := []retry.Policy{
			retry.Fixed{Every: first, GiveUpAfter: giveUp},
			retry.Exponential{First: first, Longest: time.Hour, GiveUpAfter: giveUp},
		}
		rule := retry.Rule{Policy: rapid.SampledFrom(policies).Draw(t, "policy")}
		seed := rapid.Uint64().Draw(t, "seed")
		after := time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "retry after"))
		age := time.Duration(0)
		for tries := 1; ; tries++ {
			gap, ok := rule.Next(retry.Failure{Tries: tries, Status: 503, Elapsed: age, RetryAfter: after, Seed: seed + uint64(tries)})
			if !ok {
				break
			}
			if gap <= 0 {
				t.Fatalf("gap after attempt %d is %v", tries, gap)
			}
			age += gap
		}
		if age != giveUp {
			t.Fatalf("the last attempt was made at %v, want %v", age, giveUp)
		}
	})
}
