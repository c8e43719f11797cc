// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"fmt"
	"slices"
	"time"
)

// passage is what the upstream saw of one event of a lane.
type passage struct {
	id          string
	e           entry
	first, last time.Time // when its first and its last request came, zero for never
}

// lanes judges the order of events that share a key: what was sent after the 2xx of another came never before it, and no
// two of them came at once. Replays and re-drives are outside of the order.
func (j *judgement) lanes(ledger map[string]entry, receipts []receipt, crashes []crash) {
	byLane := make(map[string]map[string]*passage)
	for id, e := range ledger {
		if e.lane == "" {
			continue
		}
		if byLane[e.lane] == nil {
			byLane[e.lane] = make(map[string]*passage)
		}
		byLane[e.lane][id] = &passage{id: id, e: e}
	}
	came := make(map[string][]receipt)
	for i := range receipts {
		r := &receipts[i]
		p := byLane[ledger[r.eventID].lane][r.eventID]
		if p == nil || r.replay || r.redriven {
			continue
		}
		if p.first.IsZero() || r.arrivedAt.Before(p.first) {
			p.first = r.arrivedAt
		}
		if r.arrivedAt.After(p.last) {
			p.last = r.arrivedAt
		}
		came[p.e.lane] = append(came[p.e.lane], *r)
	}
	for lane, passages := range byLane {
		j.overtaken(lane, passages)
		j.beside(lane, came[lane], crashes)
	}
}

// overtaken finds events of a lane that came before one that had its 2xx when they were sent. Of all those that had, the
// one that came last tells.
func (j *judgement) overtaken(lane string, passages map[string]*passage) {
	var sent, acked []*passage
	for _, p := range passages {
		if !p.first.IsZero() {
			sent = append(sent, p)
		}
		if !p.e.ackedAt.IsZero() {
			acked = append(acked, p)
		}
	}
	slices.SortFunc(sent, func(a, b *passage) int { return a.e.begun.Compare(b.e.begun) })
	slices.SortFunc(acked, func(a, b *passage) int { return a.e.ackedAt.Compare(b.e.ackedAt) })
	var latest *passage
	for _, p := range sent {
		for len(acked) > 0 && acked[0].e.ackedAt.Before(p.e.begun) {
			switch before := acked[0]; {
			case before.first.IsZero():
				j.order = append(j.order, fmt.Sprintf("%s: %s came, and %s before it never did", lane, p.id, before.id))
			case latest == nil || before.last.After(latest.last):
				latest = before
			}
			acked = acked[1:]
		}
		if latest != nil && latest.last.After(p.first) {
			j.order = append(j.order, fmt.Sprintf("%s: %s came at %s, and %s, which had its 2xx before that was sent, at %s", lane,
				p.id, p.first.Format(time.StampMicro), latest.id, latest.last.Format(time.StampMicro)))
		}
	}
}

// beside finds requests of a lane that came while another one was not answered, and no crash had cut it off.
func (j *judgement) beside(lane string, came []receipt, crashes []crash) {
	slices.SortFunc(came, func(a, b receipt) int { return a.arrivedAt.Compare(b.arrivedAt) })
	for i := 1; i < len(came); i++ {
		before, r := &came[i-1], &came[i]
		cut := slices.ContainsFunc(crashes, func(c crash) bool {
			return !before.arrivedAt.After(c.to) && !r.arrivedAt.Before(c.from)
		})
		if !cut && before.decidedAt.After(r.arrivedAt) {
			j.order = append(j.order, fmt.Sprintf("%s: %s came at %s, and %s before it was answered at %s", lane,
				r.eventID, r.arrivedAt.Format(time.StampMicro), before.eventID, before.decidedAt.Format(time.StampMicro)))
		}
	}
}
