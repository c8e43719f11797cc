// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// defaultMaxSize is the largest body that a relay takes.
const defaultMaxSize = 1 << 20

// Handler takes webhooks. It verifies each request, keeps it on disk, answers the
// sender, and delivers it through other handlers until one of them has answered
// with a 2xx.
//
// These placeholders are known in the routes of a delivery, and those that can be
// are known while the request is answered:
//
// Placeholder | Description
// ------------|-------------
// `{http.relay.id}` | Id of the message
// `{http.relay.source}` | Name of the relay
// `{http.relay.event_id}` | The sender's id of the event
// `{http.relay.type}` | Type of the event
// `{http.relay.received_at}` | When the message was received (RFC 3339)
// `{http.relay.verified_by}` | Name of the scheme that verified the message
// `{http.relay.destination}` | Id of the destination, in deliveries
// `{http.relay.attempt}` | Number of the attempt, in deliveries
// `{http.relay.body.*}` | A value of the JSON body, by its path of dotted keys
type Handler struct {
	// The stable identity of what this relay has stored. Renaming a relay leaves
	// its messages behind. Default: `default`.
	Name string `json:"name,omitempty"`

	// Where this was configured, for messages. Default: unknown.
	Origin string `json:"origin,omitempty"`

	// The methods that are taken; others get 405. Default: POST, and what the
	// schemes need.
	Methods []string `json:"methods,omitempty"`

	// How senders sign. A request is taken if any of them verifies it. Default:
	// nothing is verified, which is warned about.
	VerifyRaw []json.RawMessage `json:"verify,omitempty" caddy:"namespace=relay.schemes inline_key=scheme"`

	// What makes two requests the same event. Default: what the scheme says; off
	// without a scheme.
	Dedupe *Dedupe `json:"dedupe,omitempty"`

	// Which event types are delivered: exact names, or with a star at the end, as
	// in `invoice.*`. Others are answered and dropped. Default: all.
	Events []string `json:"events,omitempty"`

	// The largest body that is taken, in bytes. Default: 1 MiB, more where a
	// scheme's provider sends more.
	MaxSize int64 `json:"max_size,omitempty"`

	// How much of what this relay has accepted may wait to be delivered, in bytes:
	// bodies and about 1 KiB for each, once for every destination. What comes then
	// gets 503. Default: no bound.
	MaxBacklog int64 `json:"max_backlog,omitempty"`

	// The URL that senders call, as far as it differs from what arrives here: scheme,
	// host, and a path that was cut off before. Schemes that sign the URL need it.
	// Default: as the request says, and a trusted proxy.
	PublicURL string `json:"public_url,omitempty"`

	// What the sender gets once the message is safe. Default: what the scheme's
	// provider wants, else an empty 200.
	Respond *Respond `json:"respond,omitempty"`

	// What the sender gets instead of 401. Default: what the scheme's provider
	// wants, else 401.
	RejectStatus int `json:"reject_status,omitempty"`

	// Headers of the request that are not kept. Default: none.
	DropHeader []string `json:"drop_header,omitempty"`

	Policy

	// The places where messages go. Default: one, called `default`, with the routes
	// of `forward`.
	Destinations []*Destination `json:"destinations,omitempty"`

	// The routes of the only destination. It excludes `destinations`.
	Forward caddyhttp.RouteList `json:"forward,omitempty"`

	// How long a sender waits for the first attempt once its message is safe. The
	// app's 2xx is passed on if it comes in time; else the sender gets what
	// `respond` says. Default: it does not wait.
	Wait caddy.Duration `json:"wait,omitempty"`

	// Whether a request that is verified and no duplicate goes on to the next
	// handler, which answers it. Nothing is stored or delivered. Default: false.
	Pass bool `json:"pass,omitempty"`

	engine       *pooledEngine
	fetcher      *fetcher
	bindings     []*binding // of the schemes that verify
	held         []*binding // all, to be released
	public       string     // PublicURL, resolved, without a slash at its end
	eventMethods []string
	now          func() time.Time
	random       func(n int) int
	last         bool // see shedsLast
	deadlines    *deadlines
	rule         rule
	destinations []*Destination
	log          *zap.Logger
	sampled      *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.relay", New: func() caddy.Module { return new(Handler) }}
}

// Provision makes the relay ready and known to the app.
func (h *Handler) Provision(ctx caddy.Context) error {
	err := h.provision(ctx)
	switch {
	case err == nil:
		return nil
	case h.Origin == "":
		return fmt.Errorf("relay %s: %w", h.Name, err)
	default:
		return fmt.Errorf("relay %s (%s): %w", h.Name, h.Origin, err)
	}
}

func (h *Handler) provision(ctx caddy.Context) error {
	if h.Name == "" {
		h.Name = defaultName
	}
	// Loading modules empties the fields that the digest is made of.
	digest, err := h.digest()
	if err != nil {
		return err
	}
	for _, ancestor := range ctx.Modules()[:max(0, len(ctx.Modules())-1)] {
		if _, nested := ancestor.(*Handler); nested {
			return errNested
		}
	}
	h.log = ctx.Logger().With(zap.String("source", h.Name))
	h.sampled = sampledLogger(ctx.Logger())
	h.now, h.random, h.deadlines = time.Now, rand.IntN, new(deadlines)
	if err := h.check(); err != nil {
		return err
	}
	module, err := ctx.App("relay")
	if err != nil {
		return err
	}
	app := module.(*App)
	h.fetcher = app.fetcher
	if err := h.provisionVerify(ctx, app); err != nil {
		return err
	}
	if err := h.checkEvents(); err != nil {
		return err
	}
	h.fillIn()
	h.last = h.shedsLast()
	if err := h.provisionDestinations(ctx, app); err != nil {
		return err
	}
	if err := h.checkBacklog(); err != nil {
		return err
	}
	h.engine = takeEngine(app.key, app.module)
	return app.register(&source{
		name: h.Name, origin: h.Origin, digest: digest,
		destinations: h.destinations, maxSize: h.MaxSize, backlog: h.MaxBacklog, window: h.rule.window, shedLast: h.last,
	})
}

// check reports what contradicts itself without looking further.
func (h *Handler) check() error {
	if err := checkName(h.Name); err != nil {
		return fmt.Errorf("%w; give it another with name", err)
	}
	if err := checkPatterns(h.Events); err != nil {
		return err
	}
	if h.MaxSize < 0 || h.MaxBacklog < 0 {
		return fmt.Errorf("max_size and max_backlog must be positive")
	}
	if h.Respond != nil {
		if err := h.Respond.check(); err != nil {
			return err
		}
	}
	if h.RejectStatus != 0 && (h.RejectStatus < 400 || h.RejectStatus > 499) {
		return fmt.Errorf("reject_status: %d is no 4xx, so a sender would not take it for a refusal", h.RejectStatus)
	}
	if len(h.Forward) > 0 && len(h.Destinations) > 0 {
		return errTwoWays
	}
	if err := cmp.Or(h.checkPass(nil), h.checkWait()); err != nil {
		return err
	}
	var err error
	h.public, err = publicURL(h.PublicURL)
	return err
}

// checkEvents reports patterns that nothing could ever match, because no scheme
// of the relay names the types of its events.
func (h *Handler) checkEvents() error {
	if slices.ContainsFunc(h.bindings, func(b *binding) bool { return len(b.scheme.Type) > 0 }) {
		return nil
	}
	lists := [][]string{h.Events}
	for _, d := range h.Destinations {
		if d != nil {
			lists = append(lists, d.Events)
		}
	}
	for _, list := range lists {
		if !patterns(list).match("") {
			return fmt.Errorf("events: nothing in this relay says what type an event has: verify with a preset, or give verify hmac a type")
		}
	}
	return nil
}

// fillIn sets what was left open and follows from the schemes.
func (h *Handler) fillIn() {
	h.eventMethods = h.Methods
	if len(h.Methods) == 0 {
		h.Methods, h.eventMethods = []string{http.MethodPost}, []string{http.MethodPost}
		for _, b := range h.bindings {
			h.Methods = append(h.Methods, b.scheme.AcceptedMethods()...)
			h.eventMethods = append(h.eventMethods, b.scheme.Methods...)
		}
		slices.Sort(h.Methods)
		h.Methods = slices.Compact(h.Methods)
	}
	if h.MaxSize == 0 {
		h.MaxSize = defaultMaxSize
		for _, b := range h.bindings {
			h.MaxSize = max(h.MaxSize, b.scheme.MaxBody)
		}
	}
	for i, name := range h.DropHeader {
		h.DropHeader[i] = http.CanonicalHeaderKey(name)
	}
}

// provisionDestinations makes the destinations ready, the unnamed one included.
func (h *Handler) provisionDestinations(ctx caddy.Context, app *App) error {
	if err := h.Policy.provision(ctx); err != nil {
		return err
	}
	if err := h.provisionResign(ctx, app, h.Resign); err != nil {
		return err
	}
	h.destinations = h.Destinations
	if h.Pass {
		return nil
	}
	if len(h.destinations) == 0 {
		if len(h.Forward) == 0 {
			return errNowhere
		}
		h.destinations = []*Destination{{Name: defaultName, Handle: h.Forward}}
	}
	for i, d := range h.destinations {
		if d == nil {
			return fmt.Errorf("destination %d is null", i)
		}
		if slices.ContainsFunc(h.destinations[:i], func(o *Destination) bool { return o.Name == d.Name }) {
			return fmt.Errorf("two destinations are named '%s'", d.Name)
		}
		if err := h.provisionResign(ctx, app, d.Resign); err != nil {
			return fmt.Errorf("destination %s: %w", d.Name, err)
		}
		if err := d.provision(ctx, h.Name, h.Policy); err != nil {
			return err
		}
		d.forward.resigner = h.resigner(d.Resign)
	}
	return nil
}

// Cleanup gives the engine back.
func (h *Handler) Cleanup() error {
	for _, d := range h.destinations {
		if d != nil {
			d.forward.close()
		}
	}
	for _, b := range h.held {
		b.release()
	}
	if h.engine == nil {
		return nil
	}
	// A request that came before may still be served: it keeps the engine, which
	// answers it when it has been closed.
	return dropEngine(h.engine.key)
}

// digest identifies a configuration, whatever its origin.
func (h *Handler) digest() ([sha256.Size]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("reading configuration: %w", err)
	}
	var fields any
	numbers := json.NewDecoder(bytes.NewReader(text))
	numbers.UseNumber()
	if err := numbers.Decode(&fields); err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("reading configuration: %w", err)
	}
	withoutOrigin(fields)
	// Maps are written in the order of their keys.
	same, err := json.Marshal(fields)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("reading configuration: %w", err)
	}
	return sha256.Sum256(same), nil
}

// withoutOrigin takes out what only says where something was configured.
func withoutOrigin(value any) {
	switch value := value.(type) {
	case map[string]any:
		delete(value, "origin")
		for _, inner := range value {
			withoutOrigin(inner)
		}
	case []any:
		for _, inner := range value {
			withoutOrigin(inner)
		}
	}
}

// How many lines of one text are logged per second, and which share of the rest.
const (
	sampleFirst = 5
	sampleThen  = 1000
)

// sampledLogger returns a logger that a flood of requests can not make flood the
// logs.
func sampledLogger(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, sampleFirst, sampleThen)
	}))
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
