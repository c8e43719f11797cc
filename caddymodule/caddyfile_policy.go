// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"reflect"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// policyOptions are the words of a policy.
var policyOptions = []string{"timeout", "retry", "max_in_flight", "rate_limit", "order_by", "resign"}

// parse reads the option at the current token if it belongs to a policy.
func (p *Policy) parse(d *caddyfile.Dispenser) (handled bool, err error) {
	switch d.Val() {
	case "timeout":
		p.Timeout, err = parseDuration(d)
	case "retry":
		err = p.parseRetry(d)
	case "max_in_flight":
		p.MaxInFlight, err = parseCount(d)
	case "rate_limit":
		p.RateLimit, err = parseRateLimit(d)
	case "order_by":
		err = p.parseOrderBy(d)
	case "resign":
		err = p.parseResign(d)
	default:
		return false, nil
	}
	return true, err
}

// parseCount reads the one argument of an option as a number from 1.
func parseCount(d *caddyfile.Dispenser) (int, error) {
	var text string
	word := d.Val()
	if !d.AllArgs(&text) {
		return 0, d.Errf("%s takes one number", word)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, d.Errf("%s: '%s' is no number from 1", word, text)
	}
	return n, nil
}

// parseRateLimit reads a number of attempts and the window that they may be
// started in, or that there is no limit.
func parseRateLimit(d *caddyfile.Dispenser) (*RateLimit, error) {
	args := d.RemainingArgs()
	switch {
	case len(args) == 1 && args[0] == "off":
		return new(RateLimit), nil
	case len(args) != 2:
		return nil, d.Err("rate_limit takes a number of attempts and the time in which so many may be started, as in rate_limit 100 1m, or off")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return nil, d.Errf("rate_limit: '%s' is no number from 1", args[0])
	}
	window, err := duration(d, args[1])
	if err != nil {
		return nil, err
	}
	l := &RateLimit{Events: n, Window: window}
	if err := l.validate(); err != nil {
		return nil, d.WrapErr(err)
	}
	return l, nil
}

// parseRetry reads a retry option, whose policy reads the rest of it. Without the
// name of one it is the default policy.
func (p *Policy) parseRetry(d *caddyfile.Dispenser) error {
	const missing = "retry needs a policy, exponential, fixed, schedule or off, or a block"
	if d.CountRemainingArgs() == 0 {
		policy := new(Exponential)
		if err := policy.UnmarshalCaddyfile(d.NewFromNextSegment()); err != nil {
			return err
		}
		if reflect.DeepEqual(policy, new(Exponential)) {
			return d.Err(missing)
		}
		p.RetryRaw = caddyconfig.JSONModuleObject(policy, "policy", "exponential", nil)
		return nil
	}
	d.NextArg()
	name := d.Val()
	if _, err := caddy.GetModule("relay.retry_policies." + name); err != nil {
		return d.Errf("unknown retry policy '%s': it is exponential, fixed, schedule or off; how many attempts there are is set by 'attempts' in its block", name)
	}
	guest, err := caddyfile.UnmarshalModule(d, "relay.retry_policies."+name)
	if err != nil {
		return err
	}
	p.RetryRaw = caddyconfig.JSONModuleObject(guest, "policy", name, nil)
	return nil
}

// never is the word for an age at which no delivery is given up.
const never = "never"

// parseAge reads a duration, or that there is none.
func parseAge(d *caddyfile.Dispenser, text string) (caddy.Duration, error) {
	if text == never {
		return -1, nil
	}
	return duration(d, text)
}

// parseBlock reads the block of a retry option and checks the whole. giveUp is the
// policy's age of giving up, nil for one that has none.
func (l *RetryLimits) parseBlock(d *caddyfile.Dispenser, giveUp *caddy.Duration, check func() error) error {
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		if err := once(d, seen, d.Val(), nil); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "attempts":
			l.Attempts, err = parseCount(d)
		case "on":
			l.On, err = parseStatuses(d)
		case "never":
			l.Never, err = parseNever(d)
		case "give_up_after":
			err = parseGiveUp(d, giveUp)
		default:
			err = d.Errf("unknown option '%s' of retry: it has attempts, on, never and give_up_after", d.Val())
		}
		if err != nil {
			return err
		}
	}
	if err := check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// parseGiveUp reads the age of giving up in the block of a policy.
func parseGiveUp(d *caddyfile.Dispenser, into *caddy.Duration) error {
	var text string
	switch {
	case !d.AllArgs(&text):
		return d.Errf("give_up_after takes one duration, as in give_up_after 24h, or %s", never)
	case into == nil:
		return d.Err("give_up_after: a schedule gives up after its last gap; take gaps away or add some")
	case *into != 0:
		return d.Err("give_up_after: the age of giving up stands behind the gaps already; write it once")
	}
	var err error
	*into, err = parseAge(d, text)
	return err
}

// parseNever reads the statuses that are not retried, or that there are none.
func parseNever(d *caddyfile.Dispenser) ([]int, error) {
	if d.CountRemainingArgs() == 1 && d.NextArg() {
		if d.Val() == "none" {
			return []int{}, nil
		}
		d.Prev()
	}
	return parseStatuses(d)
}

// parseStatuses reads a list of HTTP statuses.
func parseStatuses(d *caddyfile.Dispenser) ([]int, error) {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.ArgErr()
	}
	statuses := make([]int, 0, len(args))
	for _, arg := range args {
		status, err := strconv.Atoi(arg)
		if err != nil {
			return nil, d.Errf("'%s' is no HTTP status; list them one by one", arg)
		}
		statuses = append(statuses, status)
	}
	return statuses, nil
}

// UnmarshalCaddyfile sets up the policy. Syntax:
//
//	retry exponential [<first> [<longest gap> [<give up after>]]] {
//	    attempts      <n>
//	    on            <statuses...>
//	    never         <statuses...>|none
//	    give_up_after <duration>|never
//	}
func (e *Exponential) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the policy
	args := d.RemainingArgs()
	if len(args) > 3 {
		return d.ArgErr()
	}
	for i, into := range []*caddy.Duration{&e.First, &e.Longest}[:min(len(args), 2)] {
		var err error
		if *into, err = duration(d, args[i]); err != nil {
			return err
		}
	}
	if len(args) == 3 {
		var err error
		if e.GiveUpAfter, err = parseAge(d, args[2]); err != nil {
			return err
		}
	}
	return e.parseBlock(d, &e.GiveUpAfter, e.Validate)
}

// UnmarshalCaddyfile sets up the policy. Syntax:
//
//	retry fixed <gap> [<give up after>] { ... }
func (f *Fixed) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the policy
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.ArgErr()
	}
	var err error
	if f.Gap, err = duration(d, args[0]); err != nil {
		return err
	}
	if len(args) == 2 {
		if f.GiveUpAfter, err = parseAge(d, args[1]); err != nil {
			return err
		}
	}
	return f.parseBlock(d, &f.GiveUpAfter, f.Validate)
}

// UnmarshalCaddyfile sets up the policy. Syntax:
//
//	retry schedule <gaps...> { ... }
func (s *Schedule) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the policy
	for _, arg := range d.RemainingArgs() {
		gap, err := duration(d, arg)
		if err != nil {
			return err
		}
		s.Gaps = append(s.Gaps, gap)
	}
	return s.parseBlock(d, nil, s.Validate)
}

// UnmarshalCaddyfile sets up the policy. Syntax:
//
//	retry off
func (*Off) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the policy
	if d.NextArg() || d.NextBlock(0) {
		return d.Err("retry off has nothing to set")
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Exponential)(nil)
	_ caddyfile.Unmarshaler = (*Fixed)(nil)
	_ caddyfile.Unmarshaler = (*Schedule)(nil)
	_ caddyfile.Unmarshaler = (*Off)(nil)
)
