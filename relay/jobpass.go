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
func (r *jobRun) next() time.Duration {
	if len(r.job.Later) == 0 {
		r.job.State, r.job.EndedAt, r.moved = store.JobDone, r.jobs.session.store.Now(), true
		return 0
	}
	r.turnTo(max(0, r.ready()))
	return jobGap
}

// ready returns which of the destinations that were put off is neither down nor
// paused any more, -1 for none.
func (r *jobRun) ready() int {
	return slices.IndexFunc(r.job.Later, func(id string) bool { return !r.jobs.session.dispatcher.halts(id) })
}

// turnTo begins the pass of the i-th destination that was put off.
func (r *jobRun) turnTo(i int) {
	r.job.Pass = r.job.Later[i]
	r.job.Later = slices.Delete(r.job.Later, i, i+1)
	r.job.Query.After = store.DeliveryID{}
	r.message, r.ahead, r.moved = store.MessageID{}, new(store.Ahead), true
}

// turnAway leaves the present pass, whose destination is down or paused, for one
// that can go on, if there is one.
func (r *jobRun) turnAway() bool {
	i := r.ready()
	if r.job.Pass == "" || i < 0 {
		return false
	}
	r.job.Later = append(r.job.Later, r.job.Pass)
	r.turnTo(i)
	return true
}

// gap returns how long to wait for a destination before more is made due for it,
// 0 for not at all. A job for several does not wait for one that is down.
func (r *jobRun) gap(destination string) time.Duration {
	d := r.jobs.session.dispatcher
	switch {
	case !r.makesDue():
	case d.halts(destination):
		if !r.several() {
			return haltGap
		}
	case d.lags(destination):
		return jobGap
	}
	return 0
}

// hold has the job wait for a destination, or go on with another one meanwhile,
// and returns for how long.
func (r *jobRun) hold(destination string) time.Duration {
	// What the step had taken for the message is not done yet.
	r.message = store.MessageID{}
	r.jobs.note(r.job.ID, destination)
	gap := r.gap(destination)
	if gap == haltGap && r.turnAway() {
		return jobGap
	}
	if gap == jobGap {
		r.lagging = destination
	}
	return gap
}

// makesDue reports whether what the job changes is delivered then.
func (r *jobRun) makesDue() bool {
	return r.job.Action == store.ActionRedrive || r.job.Action == store.ActionReplay
}

// putOff reports whether the deliveries of a destination are left to a later
// pass.
func (r *jobRun) putOff(destination string) bool {
	if !r.several() {
		return false
	}
	if slices.Contains(r.job.Later, destination) {
		return true
	}
	if !r.makesDue() || !r.jobs.session.dispatcher.halts(destination) {
		return false
	}
	r.job.Later, r.moved = append(r.job.Later, destination), true
	return true
}

// several reports whether the present pass may be about several destinations.
func (r *jobRun) several() bool {
	return r.job.Query.Destination == "" && r.job.To == "" && r.job.Pass == ""
}
