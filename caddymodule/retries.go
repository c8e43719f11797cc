// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-relay/caddy-relay/relay/retry"
)

// RetryModule is what a guest of the namespace relay.retry_policies implements.
type RetryModule interface {
	// Rule returns what decides over failed attempts. It is called after
	// provisioning.
	Rule() retry.Rule
}

// defaultGiveUp is the age at which a delivery is given up.
const defaultGiveUp = 72 * time.Hour

// RetryLimits is what all retry policies have.
type RetryLimits struct {
	// How many attempts are made at most. Default: no bound.
	Attempts int `json:"attempts,omitempty"`

	// The only statuses that are retried. An attempt that got no answer is
	// retried in any case. Default: all.
	On []int `json:"on,omitempty"`

	// Statuses that are not retried: their deliveries are dead at once. An empty list
	// means none. Default: 410, unless `on` has it.
	Never []int `json:"never,omitzero"`
}

// rule puts the limits around a policy.
func (l RetryLimits) rule(p retry.Policy) retry.Rule {
	rule := retry.Rule{Policy: p, Attempts: l.Attempts, On: l.On, Never: l.Never}
	if l.Never == nil {
		rule.Never = slices.DeleteFunc(retry.Permanent(), func(status int) bool { return slices.Contains(l.On, status) })
	}
	return rule
}

// validate reports limits that make no sense.
func (l RetryLimits) validate() error {
	if l.Attempts < 0 {
		return fmt.Errorf("retry: attempts must not be negative")
	}
	for _, statuses := range [][]int{l.On, l.Never} {
		for _, status := range statuses {
			if status < 100 || status > 599 {
				return fmt.Errorf("retry: %d is not an HTTP status", status)
			}
			if status/100 == 2 {
				return fmt.Errorf("retry: %d is a success, after which nothing is tried again; take it out", status)
			}
		}
	}
	for _, status := range l.On {
		if slices.Contains(l.Never, status) {
			return fmt.Errorf("retry: %d is both in on and in never; take it out of one", status)
		}
	}
	return nil
}

// Exponential doubles the gap after every failure. It is the default policy.
type Exponential struct {
	// The gap after the first failure. Default: 1s.
	First caddy.Duration `json:"first,omitempty"`

	// The longest gap. Default: 15m.
	Longest caddy.Duration `json:"longest,omitempty"`

	// The age at which the last attempt is made; -1 means never. Default: 72h.
	GiveUpAfter caddy.Duration `json:"give_up_after,omitempty"`

	RetryLimits
}

// CaddyModule returns the Caddy module information.
func (*Exponential) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay.retry_policies.exponential", New: func() caddy.Module { return new(Exponential) }}
}

// Validate reports gaps that make no sense.
func (e *Exponential) Validate() error {
	policy := e.Rule().Policy.(retry.Exponential)
	if policy.First <= 0 || policy.Longest < policy.First {
		return fmt.Errorf("retry exponential: the first gap must be positive and at most the longest (%s, %s)", policy.First, policy.Longest)
	}
	return e.validate()
}

// Rule returns the policy with its defaults filled in.
func (e *Exponential) Rule() retry.Rule {
	policy := retry.Default().Policy.(retry.Exponential)
	if e.First != 0 {
		policy.First = time.Duration(e.First)
		policy.Longest = max(policy.Longest, policy.First)
	}
	if e.Longest != 0 {
		policy.Longest = time.Duration(e.Longest)
	}
	policy.GiveUpAfter = giveUp(e.GiveUpAfter)
	return e.rule(policy)
}

// Fixed waits the same time after every failure.
type Fixed struct {
	// The gap.
	Gap caddy.Duration `json:"gap"`

	// The age at which the last attempt is made; -1 means never. Default: 72h.
	GiveUpAfter caddy.Duration `json:"give_up_after,omitempty"`

	RetryLimits
}

// CaddyModule returns the Caddy module information.
func (*Fixed) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay.retry_policies.fixed", New: func() caddy.Module { return new(Fixed) }}
}

// Validate reports a gap that makes no sense.
func (f *Fixed) Validate() error {
	if f.Gap <= 0 {
		return fmt.Errorf("retry fixed: the gap must be positive")
	}
	return f.validate()
}

// Rule returns the policy with its defaults filled in.
func (f *Fixed) Rule() retry.Rule {
	return f.rule(retry.Fixed{Every: time.Duration(f.Gap), GiveUpAfter: giveUp(f.GiveUpAfter)})
}

// Schedule lists the gaps one by one and gives up after the last.
type Schedule struct {
	// The gaps, in their order.
	Gaps []caddy.Duration `json:"gaps"`

	RetryLimits
}

// CaddyModule returns the Caddy module information.
func (*Schedule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay.retry_policies.schedule", New: func() caddy.Module { return new(Schedule) }}
}

// Validate reports a schedule without gaps or with a negative one.
func (s *Schedule) Validate() error {
	if len(s.Gaps) == 0 {
		return fmt.Errorf("retry schedule: it needs at least one gap; write retry off for none")
	}
	for _, gap := range s.Gaps {
		if gap < 0 {
			return fmt.Errorf("retry schedule: a gap must not be negative")
		}
	}
	return s.validate()
}

// Rule returns the policy.
func (s *Schedule) Rule() retry.Rule {
	gaps := make(retry.Schedule, len(s.Gaps))
	for i, gap := range s.Gaps {
		gaps[i] = time.Duration(gap)
	}
	return s.rule(gaps)
}

// Off makes one attempt and no other.
type Off struct{}

// CaddyModule returns the Caddy module information.
func (*Off) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay.retry_policies.off", New: func() caddy.Module { return new(Off) }}
}

// Rule returns the policy.
func (*Off) Rule() retry.Rule { return retry.Rule{Policy: retry.Off()} }

// giveUp turns the configured age into the engine's: 0 is the default, and
// anything negative means never.
func giveUp(d caddy.Duration) time.Duration {
	switch {
	case d == 0:
		return defaultGiveUp
	case d < 0:
		return 0
	default:
		return time.Duration(d)
	}
}

// Interface guards
var (
	_ RetryModule     = (*Exponential)(nil)
	_ RetryModule     = (*Fixed)(nil)
	_ RetryModule     = (*Schedule)(nil)
	_ RetryModule     = (*Off)(nil)
	_ caddy.Validator = (*Exponential)(nil)
	_ caddy.Validator = (*Fixed)(nil)
	_ caddy.Validator = (*Schedule)(nil)
)
