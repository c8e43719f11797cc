// SPDX-License-Identifier: Apache-2.0

package caddymodule

import "testing"

func TestPatternsSelectTypes(t *testing.T) {
	for _, tc := range []struct {
		patterns  patterns
		eventType string
		want      bool
	}{
		{nil, "", true},
		{nil, "push", true},
		{patterns{"*"}, "", true},
		{patterns{"push"}, "push", true},
		{patterns{"push"}, "pushed", false},
		{patterns{"push"}, "", false},
		{patterns{"invoice.*"}, "invoice.paid", true},
		{patterns{"invoice.*"}, "invoice.paid.twice", true},
		{patterns{"invoice.*"}, "invoice", false},
		{patterns{"invoice.*"}, "invoicex.paid", false},
		{patterns{"orders/*", "push"}, "orders/create", true},
	} {
		if got := tc.patterns.match(tc.eventType); got != tc.want {
			t.Errorf("%v match %q: %t", tc.patterns, tc.eventType, got)
		}
	}
}

func TestPatternsWithAStarElsewhereAreRefused(t *testing.T) {
	for _, p := range []string{"", "*.paid", "a.*.b", "**"} {
		if checkPatterns([]string{p}) == nil {
			t.Errorf("%q is taken", p)
		}
	}
}
