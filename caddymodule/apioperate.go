// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// replayRequest is the body of POST /relay/messages/{message}/replay.
type replayRequest struct {
	// To is the id of a destination, or its name where it is one of the message's
	// source; empty for all destinations that the message had.
	To string `json:"to"`
}

// replayMessage answers POST /relay/messages/{message}/replay.
func replayMessage(c *call) (int, any, error) {
	id, err := parseMessageID(c.PathValue("message"))
	if err != nil {
		return 0, nil, err
	}
	var req replayRequest
	if err := c.decode(&req); err != nil {
		return 0, nil, err
	}
	var made []store.Delivery
	if req.To == "" {
		made, err = c.engine.ReplayAll(c.Context(), id)
	} else {
		made, err = c.replayTo(id, req.To)
	}
	for i := range made {
		c.audit("replay", zap.Stringer("message", id), zap.Stringer("delivery", made[i].ID), zap.String("destination", made[i].Destination))
	}
	return http.StatusOK, deliveriesPage{Deliveries: views(made, viewListed)}, err
}

func (c *call) replayTo(id store.MessageID, to string) ([]store.Delivery, error) {
	if !strings.Contains(to, ":") {
		st, err := c.engine.Store()
		if err != nil {
			return nil, err
		}
		m, err := st.Message(c.Context(), id)
		if err != nil {
			return nil, err
		}
		to = relay.DestinationID(m.Source, to)
	}
	d, err := c.engine.Replay(c.Context(), id, to)
	if err != nil {
		return nil, err
	}
	return []store.Delivery{d}, nil
}

// redriveDelivery answers POST /relay/deliveries/{message}/{n}/redrive.
func redriveDelivery(c *call) (int, any, error) { return c.operate("redrive", c.engine.Redrive) }

// cancelDelivery answers POST /relay/deliveries/{message}/{n}/cancel.
func cancelDelivery(c *call) (int, any, error) { return c.operate("cancel", c.engine.Cancel) }

// stateRemedies say which deliveries an action is for.
var stateRemedies = map[string]string{
	"redrive": "only dead ones are re-driven; to deliver a message once more, replay it",
	"cancel":  "only open ones are canceled",
}

func (c *call) operate(action string, change func(context.Context, store.DeliveryID) (store.Delivery, error)) (int, any, error) {
	id, err := c.deliveryID()
	if err != nil {
		return 0, nil, err
	}
	d, err := change(c.Context(), id)
	if errors.Is(err, store.ErrState) {
		return 0, nil, apiError(http.StatusConflict, fmt.Errorf("%w: %s", err, stateRemedies[action]))
	}
	if err != nil {
		return 0, nil, err
	}
	c.audit(action, zap.Stringer("delivery", id), zap.String("destination", d.Destination))
	return http.StatusOK, viewDelivery(&d, false), nil
}

// deleteMessage answers DELETE /relay/messages/{message}.
func deleteMessage(c *call) (int, any, error) {
	id, err := parseMessageID(c.PathValue("message"))
	if err != nil {
		return 0, nil, err
	}
	if err := c.engine.Delete(c.Context(), id); err != nil {
		return 0, nil, err
	}
	c.audit("delete", zap.Stringer("message", id))
	return http.StatusOK, map[string]string{"deleted": id.String()}, nil
}

// pauseRequest is the body of POST /relay/destinations/{destination}/pause.
type pauseRequest struct {
	// Reason is for other operators to read.
	Reason string `json:"reason"`
}

// pauseView is a pause as operators see it.
type pauseView struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
}

// pausedView is the answer to a pause. Before is the pause that there was already.
type pausedView struct {
	Paused string     `json:"paused"`
	Before *pauseView `json:"before,omitempty"`
}

func viewPause(p *store.Pause) *pauseView {
	if p == nil {
		return nil
	}
	return &pauseView{Since: p.CreatedAt.UTC(), Reason: p.Reason}
}

// pauseDestination answers POST /relay/destinations/{destination}/pause.
func pauseDestination(c *call) (int, any, error) {
	var req pauseRequest
	if err := c.decode(&req); err != nil {
		return 0, nil, err
	}
	destination := c.PathValue("destination")
	before, err := c.engine.Pause(c.Context(), destination, req.Reason)
	if err != nil {
		return 0, nil, c.explainDestination(destination, err)
	}
	c.audit("pause", zap.String("destination", destination), zap.String("reason", req.Reason))
	return http.StatusOK, pausedView{Paused: destination, Before: viewPause(before)}, nil
}

// resumeDestination answers POST /relay/destinations/{destination}/resume.
func resumeDestination(c *call) (int, any, error) {
	destination := c.PathValue("destination")
	if err := c.engine.Resume(c.Context(), destination); err != nil {
		return 0, nil, c.explainDestination(destination, err)
	}
	c.audit("resume", zap.String("destination", destination))
	return http.StatusOK, map[string]string{"resumed": destination}, nil
}

// explainDestination says how destinations are written, where one without a
// source was asked for.
func (c *call) explainDestination(destination string, err error) error {
	if !strings.Contains(destination, ":") {
		return fmt.Errorf("a destination is written <source>:<name>, as in %s:default: %w", destination, err)
	}
	return err
}
