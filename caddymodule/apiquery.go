// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// parameters are those of a list that have not been read yet.
type parameters struct {
	url.Values
	known []string
	now   time.Time
	err   error
}

func parseParameters(raw string, now time.Time) (*parameters, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fmt.Errorf("reading the query: %w: %w", store.ErrInvalid, err)
	}
	return &parameters{Values: values, now: now}, nil
}

// text takes a parameter that may be given once.
func (p *parameters) text(name string) string {
	p.known = append(p.known, name)
	values := p.Values[name]
	delete(p.Values, name)
	if len(values) > 1 {
		p.fail("%s is given twice", name)
	}
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// time takes a time, or a duration for the time so long ago.
func (p *parameters) time(name string) time.Time {
	text := p.text(name)
	if text == "" {
		return time.Time{}
	}
	if t, err := parseTime(text, p.now); err == nil {
		return t
	}
	p.fail("%s is '%s', which is no time: write it as in 2026-03-01T12:00:00Z, or as in 2h for two hours ago", name, text)
	return time.Time{}
}

// between takes the times from which on and before which something was received.
func (p *parameters) between() (from, to time.Time) {
	from, to = p.time("from"), p.time("to")
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		p.fail("from is not before to, so that nothing lies between")
	}
	return from, to
}

// parseTime reads a time, or a duration for the time so long before now.
func parseTime(text string, now time.Time) (time.Time, error) {
	if age, err := caddy.ParseDuration(text); err == nil && age >= 0 {
		return now.Add(-age), nil
	}
	return time.Parse(time.RFC3339, text)
}

// limit takes the size of a page.
func (p *parameters) limit() int {
	text := p.text("limit")
	if text == "" {
		return defaultPage
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		p.fail("limit is '%s': it is a number from 1 to %d", text, maxPage)
	}
	return n
}

func (p *parameters) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format+": %w", append(args, store.ErrInvalid)...)
	}
}

// done returns what was wrong with the parameters, unknown ones included.
func (p *parameters) done() error {
	for name := range p.Values {
		slices.Sort(p.known)
		p.fail("unknown parameter '%s': this list has %s", name, strings.Join(p.known, ", "))
	}
	return p.err
}

// parseMessageQuery reads the query of a list of messages.
func parseMessageQuery(raw string, now time.Time) (store.MessageQuery, error) {
	p, err := parseParameters(raw, now)
	if err != nil {
		return store.MessageQuery{}, err
	}
	q := store.MessageQuery{
		Source: p.text("source"), Type: p.text("type"), EventID: p.text("event_id"), Tenant: p.text("tenant"),
		Limit: p.limit(),
	}
	q.From, q.To = p.between()
	if cursor := p.text("cursor"); cursor != "" {
		if q.Before, err = parseMessageID(cursor); err != nil {
			p.fail("cursor is '%s': it is the next of a page", cursor)
		}
	}
	return q, p.done()
}

// parseDeliveryQuery reads the query of a list of deliveries.
func parseDeliveryQuery(raw string, now time.Time) (store.DeliveryQuery, error) {
	p, err := parseParameters(raw, now)
	if err != nil {
		return store.DeliveryQuery{}, err
	}
	q := store.DeliveryQuery{
		Destination: p.text("destination"), Source: p.text("source"), Type: p.text("type"), EventID: p.text("event_id"),
		Limit: p.limit(),
	}
	q.From, q.To = p.between()
	if err := setState(&q, p.text("state")); err != nil {
		p.err = err
	}
	if cursor := p.text("cursor"); cursor != "" {
		if q.After, err = parseDeliveryID(cursor); err != nil {
			p.fail("cursor is '%s': it is the next of a page", cursor)
		}
	}
	return q, p.done()
}

// setState has a query select a state by its name, or all open ones.
func setState(q *store.DeliveryQuery, name string) error {
	switch name {
	case "":
		return nil
	case "open":
		q.Open = true
		return nil
	}
	var names []string
	for state := store.Pending; state <= store.Canceled; state++ {
		if state.String() == name {
			q.State = state
			return nil
		}
		names = append(names, state.String())
	}
	return fmt.Errorf("state is '%s': it is open, %s: %w", name, strings.Join(names, ", "), store.ErrInvalid)
}
