// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// maxCount is where a dry run stops counting.
const maxCount = 1_000_000

// jobRequest is the body of POST /relay/jobs.
type jobRequest struct {
	// Action is redrive, replay, cancel or delete.
	Action string `json:"action"`

	// What to select, as in the parameters of GET /relay/deliveries.
	Destination string `json:"destination"`
	State       string `json:"state"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	EventID     string `json:"event_id"`
	From        string `json:"from"`
	To          string `json:"to"`

	// ReplayTo is the destination of a replay; empty for that of each delivery.
	ReplayTo string `json:"replay_to"`

	// Rate bounds how many deliveries are changed in a second.
	Rate int `json:"rate"`

	// DryRun counts deliveries, or messages to delete, and changes nothing.
	DryRun bool `json:"dry_run"`
}

// countView is the answer to a dry run.
type countView struct {
	Action string `json:"action"`
	Count  uint64 `json:"count"`
	// More says that there are more than were counted.
	More bool `json:"more,omitempty"`
}

// jobView is a job as operators see it. State is illegible where the record of the
// job can not be read; nothing is known of it then but ID and CreatedAt.
type jobView struct {
	ID          string     `json:"id"`
	Action      string     `json:"action,omitempty"`
	State       string     `json:"state"`
	Destination string     `json:"destination,omitempty"`
	Source      string     `json:"source,omitempty"`
	Type        string     `json:"type,omitempty"`
	EventID     string     `json:"event_id,omitempty"`
	Selects     string     `json:"selects,omitempty"`
	From        *time.Time `json:"from,omitempty"`
	To          *time.Time `json:"to,omitempty"`
	ReplayTo    string     `json:"replay_to,omitempty"`
	Rate        int        `json:"rate,omitempty"`
	By          string     `json:"by,omitempty"`
	CreatedAt   time.Time  `json:"created_at"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
	Done        uint64     `json:"done"`
	Skipped     uint64     `json:"skipped"`
	// Reached is when the message was received that the job has come to, and WaitsFor
	// the destination that holds it up.
	Reached  *time.Time `json:"reached,omitempty"`
	WaitsFor string     `json:"waits_for,omitempty"`
	PutOff   []string   `json:"put_off,omitempty"`
	Error    string     `json:"error,omitempty"`
}

func viewJob(j *store.Job, held string) jobView {
	v := jobView{
		ID: j.ID, Action: string(j.Action), State: string(j.State), Destination: j.Query.Destination, Source: j.Query.Source,
		Type: j.Query.Type, EventID: j.Query.EventID, From: optional(j.Query.From), To: optional(j.Query.To), ReplayTo: j.To,
		Rate: j.Rate, By: j.By, CreatedAt: j.CreatedAt.UTC(), EndedAt: optional(j.EndedAt), Done: j.Done, Skipped: j.Skipped,
		WaitsFor: held, PutOff: j.Later, Error: j.Error,
	}
	switch {
	case j.Query.State != 0:
		v.Selects = j.Query.State.String()
	case j.Query.Open:
		v.Selects = "open"
	}
	if !j.Query.After.Message.IsZero() {
		v.Reached = optional(j.Query.After.Message.Time())
	}
	return v
}

// illegible is the state of a job whose record can not be read.
const illegible = "illegible"

func viewStatus(s *relay.JobStatus) jobView {
	v := viewJob(&s.Job, s.Held)
	if s.Err != nil {
		v.State, v.Error = illegible, s.Err.Error()
	}
	return v
}

// request reads what a job is asked to do.
func (req *jobRequest) request(by string, now time.Time) (relay.JobRequest, error) {
	asked := relay.JobRequest{
		Action: store.JobAction(req.Action), To: req.ReplayTo, Rate: req.Rate, By: by,
		Query: store.DeliveryQuery{Destination: req.Destination, Source: req.Source, Type: req.Type, EventID: req.EventID},
	}
	if err := setState(&asked.Query, req.State); err != nil {
		return asked, err
	}
	for _, end := range []struct {
		name, text string
		at         *time.Time
	}{{"from", req.From, &asked.Query.From}, {"to", req.To, &asked.Query.To}} {
		if end.text == "" {
			continue
		}
		t, err := parseTime(end.text, now)
		if err != nil {
			return asked, fmt.Errorf("%s is '%s', which is no time: write it as in 2026-03-01T12:00:00Z, or as in 2h for two hours ago: %w",
				end.name, end.text, store.ErrInvalid)
		}
		*end.at = t
	}
	return asked, nil
}

// startJob answers POST /relay/jobs.
func startJob(c *call) (int, any, error) {
	var req jobRequest
	if err := c.decode(&req); err != nil {
		return 0, nil, err
	}
	asked, err := req.request(c.by, time.Now())
	if err != nil {
		return 0, nil, err
	}
	if err := c.checkNames(req.Source, req.Destination); err != nil {
		return 0, nil, err
	}
	if req.DryRun {
		n, err := c.engine.CountJob(c.Context(), asked, maxCount)
		return http.StatusOK, countView{Action: req.Action, Count: n, More: n == maxCount}, err
	}
	job, err := c.engine.StartJob(c.Context(), asked)
	if err != nil {
		return 0, nil, err
	}
	view := viewJob(&job, "")
	c.audit("start job", zap.Any("job", view))
	return http.StatusAccepted, view, nil
}

// listJobs answers GET /relay/jobs.
func listJobs(c *call) (int, any, error) {
	all, err := c.engine.Jobs(c.Context())
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, map[string][]jobView{"jobs": views(all, viewStatus)}, nil
}

// showJob answers GET /relay/jobs/{job}.
func showJob(c *call) (int, any, error) {
	job, err := c.engine.Job(c.Context(), c.PathValue("job"))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, viewStatus(&job), nil
}

// deleteJob answers DELETE /relay/jobs/{job}.
func deleteJob(c *call) (int, any, error) {
	id := c.PathValue("job")
	if err := c.engine.ForgetJob(c.Context(), id); err != nil {
		return 0, nil, explainJob(err)
	}
	c.audit("delete job", zap.String("job", id))
	return http.StatusOK, map[string]string{"deleted": id}, nil
}

// explainJob says what can be done with a job that can not be read.
func explainJob(err error) error {
	if errors.Is(err, store.ErrCorrupt) {
		return apiError(http.StatusConflict, fmt.Errorf("%w: it is not worked on; caddy relay jobs delete removes it", err))
	}
	return err
}

// turnJob answers POST /relay/jobs/{job}/pause and its like.
func turnJob(action string, turn func(*relay.Engine, context.Context, string) (store.Job, error)) endpoint {
	return func(c *call) (int, any, error) {
		job, err := turn(c.engine.Engine, c.Context(), c.PathValue("job"))
		if err != nil {
			return 0, nil, explainJob(err)
		}
		c.audit(action+" job", zap.String("job", job.ID))
		return http.StatusOK, viewJob(&job, ""), nil
	}
}
