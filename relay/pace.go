// SPDX-License-Identifier: Apache-2.0

package relay

const (
	// paceRound is of how many attempts a destination is judged at least, and
	// paceBad which part of them, one in so many, must have gone badly for it to be
	// found overloaded. What fails less often is no reason to go slower.
	paceRound = 16
	paceBad   = 8

	// paceBack is how many attempts run at once, at first, at a destination that is
	// back.
	paceBack = 8
)

// pace adapts how many attempts of a destination run at once to what it can
// take: it grows while attempts are answered and is halved when many of them are
// not, or are answered that it is too much.
//
// It begins with all that is allowed. After it was halved it grows by one with
// every so many answered attempts as run at once; at a destination that was down
// and is back by one with each, so that it soon has what it had.
type pace struct {
	// limit is how many attempts may run at once, from 1 to most.
	limit int
	most  int

	// fast is the limit up to which it grows with each answered attempt, grown
	// counts those beyond it.
	fast  int
	grown int

	// round counts how often the limit was lowered. An attempt that was begun before
	// the last time tells nothing about the limit of now.
	round uint64

	// ended and bad count attempts since it was last judged.
	ended int
	bad   int
}

// set puts a bound in force. What had all of the former one gets all of it.
func (p *pace) set(most int) {
	if p.limit == p.most || p.limit > most {
		p.limit = most
	}
	p.most = most
}

// told takes in what an attempt found that was begun in a round.
func (p *pace) told(round uint64, found condition) {
	if round != p.round || found == unknown {
		return
	}
	span := max(p.limit, paceRound)
	p.ended++
	if found == up {
		p.grow()
	} else {
		p.bad++
	}
	switch {
	case p.bad*paceBad >= span:
		p.lower(max(1, p.limit/2))
		p.fast = p.limit
	case p.ended >= span:
		p.ended, p.bad = 0, 0
	}
}

func (p *pace) grow() {
	switch {
	case p.limit >= p.most:
	case p.limit < p.fast:
		p.limit++
	default:
		if p.grown++; p.grown >= p.limit {
			p.limit, p.grown = p.limit+1, 0
		}
	}
}

func (p *pace) lower(limit int) {
	p.limit, p.grown, p.ended, p.bad = limit, 0, 0, 0
	p.round++
}

// back begins anew with a destination that was down.
func (p *pace) back() {
	p.lower(min(p.most, paceBack))
	p.fast = p.most
}
