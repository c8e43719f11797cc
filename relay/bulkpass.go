// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// A job goes through what it selects in passes: first through all of it, then
// through what it has put off, each destination by itself.

// next begins the pass of a destination that was put off, or ends the job.
func (b *bulk) next() time.Duration {
	if len(b.job.Later) == 0 {
		b.job.State, b.job.EndedAt, b.moved = store.JobDone, b.bulks.session.store.Now(), true
		return 0
	}
	b.turnTo(max(0, b.ready()))
	return bulkGap
}

// ready returns which of the destinations that were put off is neither down nor
// paused any more, -1 for none.
func (b *bulk) ready() int {
	return slices.IndexFunc(b.job.Later, func(id string) bool { return !b.bulks.session.dispatcher.halts(id) })
}

// turnTo begins the pass of the i-th destination that was put off.
func (b *bulk) turnTo(i int) {
	b.job.Pass = b.job.Later[i]
	b.job.Later = slices.Delete(b.job.Later, i, i+1)
	b.job.Query.After = store.DeliveryID{}
	b.message, b.moved = store.MessageID{}, true
}

// turnAway leaves the present pass, whose destination is down or paused, for one
// that can go on, if there is one.
func (b *bulk) turnAway() bool {
	i := b.ready()
	if b.job.Pass == "" || i < 0 {
		return false
	}
	b.job.Later = append(b.job.Later, b.job.Pass)
	b.turnTo(i)
	return true
}

// hold returns how long to wait for a destination before more is made due for it.
// A job for several does not wait for one that is down.
func (b *bulk) hold(destination string) time.Duration {
	d := b.bulks.session.dispatcher
	var gap time.Duration
	switch {
	case b.job.Action == store.ActionCancel:
	case d.halts(destination):
		if !b.several() {
			gap = haltGap
		}
		if gap > 0 && b.turnAway() {
			gap = bulkGap
		}
	case d.lags(destination):
		gap = bulkGap
	}
	if gap > 0 {
		// What the step had taken for the message is not done yet.
		b.message = store.MessageID{}
		b.bulks.note(b.job.ID, destination)
	} else {
		b.bulks.note(b.job.ID, "")
	}
	return gap
}

// putOff reports whether the deliveries of a destination are left to a later
// pass.
func (b *bulk) putOff(destination string) bool {
	if !b.several() {
		return false
	}
	if slices.Contains(b.job.Later, destination) {
		return true
	}
	if b.job.Action == store.ActionCancel || !b.bulks.session.dispatcher.halts(destination) {
		return false
	}
	b.job.Later, b.moved = append(b.job.Later, destination), true
	return true
}

// several reports whether the present pass may be about several destinations.
func (b *bulk) several() bool {
	return b.job.Query.Destination == "" && b.job.To == "" && b.job.Pass == ""
}
