// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// forwardCtxKey is where the context in which the routes of a forward are
// provisioned holds the id of its destination. What a proxy among them emits
// comes with its context, and so tells whose upstream it speaks of.
const forwardCtxKey caddy.CtxKey = "relay_forward"

// followHealth has the app hear what the active health checks of proxies find.
// It is called by relays while they are provisioned and not by the app, which the
// events app may bring into being while it is not ready itself.
func (a *App) followHealth(ctx caddy.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.followed {
		return nil
	}
	module, err := ctx.App("events")
	if err != nil {
		return err
	}
	a.followed = true
	return module.(*caddyevents.App).Subscribe(&caddyevents.Subscription{
		Events:   []string{"healthy"},
		Modules:  []caddy.ModuleID{"http.handlers.reverse_proxy"},
		Handlers: []caddyevents.Handler{healthFollower{a.engine}},
	})
}

// healthFollower tells an engine which destinations are healthy again.
type healthFollower struct{ engine *pooledEngine }

// Handle implements caddyevents.Handler. Events of proxies that belong to no
// forward are none of ours.
func (f healthFollower) Handle(ctx context.Context, _ caddy.Event) error {
	if destination, ok := ctx.Value(forwardCtxKey).(string); ok {
		f.engine.SeenHealthy(destination)
	}
	return nil
}

// Interface guard
var _ caddyevents.Handler = healthFollower{}
