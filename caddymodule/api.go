// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

const (
	// apiTime bounds how long one call may take.
	apiTime = 30 * time.Second

	// maxCall bounds the body of a call.
	maxCall = 64 << 10
)

// api is the tree under /relay/ by which operators look at messages and act on
// them.
type api struct {
	// app returns the app of the configuration in force.
	app func() (*App, error)

	// actor tells who has sent a request, for the audit log.
	actor func(r *http.Request) string

	mux *http.ServeMux
}

// call is one request to the api.
type call struct {
	*http.Request
	app    *App
	engine *pooledEngine
	by     string
}

// endpoint answers a call with what is to be written as JSON, and its status.
type endpoint func(c *call) (status int, answer any, err error)

// apiRoutes are the endpoints of the api by path and method.
var apiRoutes = map[string]map[string]endpoint{
	"/relay/health":                            {http.MethodGet: getHealth},
	"/relay/stats":                             {http.MethodGet: getStats},
	"/relay/messages":                          {http.MethodGet: listMessages},
	"/relay/messages/{message}":                {http.MethodGet: showMessage, http.MethodDelete: deleteMessage},
	"/relay/messages/{message}/replay":         {http.MethodPost: replayMessage},
	"/relay/deliveries":                        {http.MethodGet: listDeliveries},
	"/relay/deliveries/{message}/{n}":          {http.MethodGet: showDelivery},
	"/relay/deliveries/{message}/{n}/redrive":  {http.MethodPost: redriveDelivery},
	"/relay/deliveries/{message}/{n}/cancel":   {http.MethodPost: cancelDelivery},
	"/relay/destinations/{destination}/pause":  {http.MethodPost: pauseDestination},
	"/relay/destinations/{destination}/resume": {http.MethodPost: resumeDestination},
	"/relay/jobs":                              {http.MethodGet: listJobs, http.MethodPost: startJob},
	"/relay/jobs/{job}":                        {http.MethodGet: showJob, http.MethodDelete: deleteJob},
	"/relay/jobs/{job}/pause":                  {http.MethodPost: turnJob("pause", (*relay.Engine).PauseJob)},
	"/relay/jobs/{job}/resume":                 {http.MethodPost: turnJob("resume", (*relay.Engine).ResumeJob)},
	"/relay/jobs/{job}/cancel":                 {http.MethodPost: turnJob("cancel", (*relay.Engine).CancelJob)},
	"/relay/secrets":                           {http.MethodGet: listSecrets},
	"/relay/secrets/{source}/{scheme}/{name}":  {http.MethodGet: showSecret},
}

func newAPI(app func() (*App, error), actor func(*http.Request) string) *api {
	a := &api{app: app, actor: actor, mux: http.NewServeMux()}
	for pattern, methods := range apiRoutes {
		a.mux.Handle(pattern, routed{methods})
	}
	return a
}

// routed is what is found at a path.
type routed struct{ methods map[string]endpoint }

// ServeHTTP is never called: the mux is asked for what matches, which answers
// with errors of its own.
func (routed) ServeHTTP(http.ResponseWriter, *http.Request) {}

// serve answers a request. Its errors are of type caddy.APIError.
func (a *api) serve(w http.ResponseWriter, r *http.Request) error {
	var found routed
	handler, pattern := a.mux.Handler(r)
	if pattern != "" {
		found, _ = handler.(routed)
	}
	if found.methods == nil {
		return apiError(http.StatusNotFound, fmt.Errorf("there is nothing at %s; /relay/stats, /relay/messages and /relay/deliveries are a beginning", r.URL.Path))
	}
	// The mux fills in the parts of the path only where it serves.
	a.mux.ServeHTTP(nowhere{}, r)
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	answer, ok := found.methods[method]
	if !ok {
		allowed := methodsOf(found.methods)
		w.Header().Set("Allow", allowed)
		return apiError(http.StatusMethodNotAllowed, fmt.Errorf("%s takes %s, not %s", r.URL.Path, allowed, r.Method))
	}
	ctx, cancel := context.WithTimeout(r.Context(), apiTime)
	defer cancel()
	app, err := a.app()
	if err != nil {
		return apiError(http.StatusServiceUnavailable, err)
	}
	// A reload may take the engine from the app at any time.
	engine := takeEngine(app.key, app.module)
	defer func() { _ = dropEngine(app.key) }()
	status, body, err := answer(&call{Request: r.WithContext(ctx), app: app, engine: engine, by: a.actor(r)})
	if err != nil {
		return explainAPI(err)
	}
	return writeJSON(w, status, body)
}

// nowhere is a writer that nothing is written to.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

func methodsOf(methods map[string]endpoint) string {
	return strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return apiError(http.StatusInternalServerError, fmt.Errorf("encoding the answer: %w", err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(encoded, '\n'))
	return nil
}

// apiError is an error that is answered with a status.
func apiError(status int, err error) error { return caddy.APIError{HTTPStatus: status, Err: err} }

// explainAPI gives an error of the engine its status.
func explainAPI(err error) error {
	if already, ok := errors.AsType[caddy.APIError](err); ok {
		return already
	}
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, relay.ErrNoDestination):
		return apiError(http.StatusNotFound, fmt.Errorf("%w: caddy relay stats lists those there are", err))
	case errors.Is(err, store.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, store.ErrState), errors.Is(err, store.ErrConflict), errors.Is(err, relay.ErrTooManyJobs):
		status = http.StatusConflict
	case errors.Is(err, store.ErrInvalid):
		return apiError(http.StatusBadRequest, errors.New(strings.TrimSuffix(err.Error(), ": "+store.ErrInvalid.Error())))
	case errors.Is(err, relay.ErrNotReady), errors.Is(err, relay.ErrClosed), errors.Is(err, store.ErrFailed), errors.Is(err, store.ErrClosed):
		status = http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		return apiError(http.StatusServiceUnavailable, fmt.Errorf("this took more than %s: ask for less, as by destination, source or time: %w", apiTime, err))
	}
	return apiError(status, err)
}

// decode reads the body of a call, which may be empty.
func (c *call) decode(into any) error {
	body, err := io.ReadAll(io.LimitReader(c.Body, maxCall+1))
	if err != nil {
		return apiError(http.StatusBadRequest, fmt.Errorf("reading the body: %w", err))
	}
	if len(body) > maxCall {
		return apiError(http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes", maxCall))
	}
	if len(body) == 0 {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return apiError(http.StatusBadRequest, fmt.Errorf("reading the body: %w", err))
	}
	if decoder.More() {
		return apiError(http.StatusBadRequest, errors.New("reading the body: there is more behind the JSON"))
	}
	return nil
}

// audit writes down what an operator has done.
func (c *call) audit(action string, fields ...zap.Field) {
	c.app.log.Named("audit").Info("operator action",
		append([]zap.Field{zap.String("action", action), zap.String("by", c.by)}, fields...)...)
}
