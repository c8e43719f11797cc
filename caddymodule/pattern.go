// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"strings"
)

// patterns select event types. No patterns select everything.
type patterns []string

// checkPatterns reports a pattern that could not mean what it looks like.
func checkPatterns(list []string) error {
	for _, p := range list {
		star := strings.IndexByte(p, '*')
		if p == "" || star >= 0 && star != len(p)-1 {
			return fmt.Errorf("events: the pattern '%s' may have a star only at its end, as in invoice.*", p)
		}
	}
	return nil
}

// match reports whether an event type is selected. `a.*` matches `a.b` and
// `a.b.c`, `*` matches every type and also its absence.
func (list patterns) match(eventType string) bool {
	if len(list) == 0 {
		return true
	}
	for _, p := range list {
		prefix, wild := strings.CutSuffix(p, "*")
		if p == eventType || wild && strings.HasPrefix(eventType, prefix) {
			return true
		}
	}
	return false
}
