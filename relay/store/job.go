// SPDX-License-Identifier: Apache-2.0

package store

import "time"

// JobAction is what a job does to the deliveries that it selects.
type JobAction string

// The actions of jobs.
const (
	// ActionRedrive re-drives dead deliveries.
	ActionRedrive JobAction = "redrive"
	// ActionReplay makes new deliveries of the messages of deliveries.
	ActionReplay JobAction = "replay"
	// ActionCancel cancels open deliveries.
	ActionCancel JobAction = "cancel"
	// ActionDelete removes the messages of deliveries.
	ActionDelete JobAction = "delete"
)

// JobState is where a job stands.
type JobState string

// The states of a job.
const (
	// JobRunning jobs are worked on, after a restart too.
	JobRunning JobState = "running"
	// JobPaused jobs wait until an operator resumes them.
	JobPaused JobState = "paused"
	// JobDone jobs have come to their end.
	JobDone JobState = "done"
	// JobCanceled jobs were ended by an operator.
	JobCanceled JobState = "canceled"
	// JobFailed jobs have met an error; they can be resumed where they stopped.
	JobFailed JobState = "failed"
)

// Ended reports whether the job will never go on.
func (s JobState) Ended() bool { return s == JobDone || s == JobCanceled }

// Job is one action on all deliveries that a query selects, carried out in the
// background. It always belongs to the operator.
type Job struct {
	EntityMeta
	// ID is unique, and sorts by the time at which the job was made.
	ID string
	// Action is what is done.
	Action JobAction
	// Query selects the deliveries. Its After is how far the job has come; its Limit
	// says nothing.
	Query DeliveryQuery
	// To is the destination of a replay; empty for the one of each delivery.
	To string
	// Rate bounds how many deliveries are changed in a second; 0 for no bound.
	Rate int
	// By tells who has asked for the job.
	By string

	// State is where the job stands.
	State JobState
	// Pass is the one destination that the present pass is about; empty for all that
	// the query selects. Later are those that were put off to passes of their own.
	Pass  string
	Later []string
	// Done counts the deliveries that were changed or made, or the messages that were
	// deleted, Skipped those that could not be, because they had changed meanwhile.
	Done    uint64
	Skipped uint64
	// Error says why the job failed.
	Error string
	// EndedAt is when the job ended, zero before.
	EndedAt time.Time
}

// Key returns what identifies the job.
func (j *Job) Key() EntityKey { return EntityKey{Kind: KindJob, ID: j.ID} }
