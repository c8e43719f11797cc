// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/wire"
)

// forward delivers messages through a chain of Caddy's handlers.
type forward struct {
	destination string
	direct      *direct // nil where the chain is more than a plain proxy
	chain       caddyhttp.Handler
	server      *caddyhttp.Server
	resigner    *resigner // nil where signatures go on as they came
	log         *zap.Logger
	running     tally // attempts under way in the chain
}

// newForward provisions the routes of a destination and compiles them once.
func newForward(ctx caddy.Context, destination string, routes caddyhttp.RouteList) (*forward, error) {
	// Provisioning takes away what routes were configured with.
	proxy, isPlain := plain(ctx, routes)
	outlast(routes)
	if err := routes.Provision(ctx); err != nil {
		return nil, fmt.Errorf("forward of destination %s: %w", destination, err)
	}
	writeWhole(routes)
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil {
		// Handlers dereference the server without asking.
		server = new(caddyhttp.Server)
	}
	end := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return errUnhandled })
	f := &forward{
		destination: destination,
		chain:       routes.Compile(end),
		server:      server,
		log:         ctx.Logger().With(zap.String("destination", destination)),
	}
	if isPlain && !traced(server) {
		f.direct = newDirect(proxy)
	}
	return f, nil
}

// close lets go of what the forward holds. Attempts under way end as they began.
func (f *forward) close() {
	if f != nil {
		f.direct.close()
	}
}

// deliveryCtxKey marks the context of a delivery, so that a relay can tell that
// it is reached by one.
const deliveryCtxKey caddy.CtxKey = "relay_delivery"

// Deliver implements relay.Deliverer.
func (f *forward) Deliver(ctx context.Context, a relay.Attempt) (result relay.Result) {
	defer func() {
		if p := recover(); p != nil {
			result = f.panicked(ctx, p)
		}
	}()
	if f.direct.takes(a) {
		if result, made := f.direct.deliver(ctx, a, f.resigner); made {
			return result
		}
	}
	header, late, err := f.resigner.header(a)
	if err != nil {
		return relay.Result{Outcome: store.Broken, Err: err}
	}
	return late.explain(f.run(ctx, a, header))
}

// run makes an attempt through the chain.
func (f *forward) run(ctx context.Context, a relay.Attempt, header http.Header) relay.Result {
	f.running.Add(1)
	defer f.running.Add(-1)
	in := &a.Message.Request
	r, err := rebuild(ctx, in, header)
	if err != nil {
		return relay.Result{Outcome: store.Unhandled, Err: err}
	}
	rec := newCapture(a.Waiter)
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, rec, f.server)
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, in.ClientIP)
	caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, in.TrustedProxy)
	repl.Map(attemptFacts(a, f.destination).get)
	return classify(ctx, r, rec, f.chain.ServeHTTP(rec, r))
}

// panicked is the result of an attempt whose chain has panicked. A proxy does so
// on purpose when the answer breaks off, and nothing that was captured before is
// to be trusted.
func (f *forward) panicked(ctx context.Context, p any) relay.Result {
	if cause := ctx.Err(); cause != nil {
		return cutOff(ctx, cause)
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		return relay.Result{Outcome: store.Broken, Err: wire.ErrIncomplete}
	}
	f.log.Error("handler in forward panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
	return relay.Result{Outcome: store.Broken, Err: fmt.Errorf("a handler of the forward panicked: %v", p)}
}

// rebuild makes the request of an attempt from what is stored of the message.
func rebuild(ctx context.Context, in *store.Request, header http.Header) (*http.Request, error) {
	target, err := url.ParseRequestURI(in.URI)
	if err != nil {
		return nil, fmt.Errorf("stored request has no usable URI: %w", err)
	}
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, localAddr(in.LocalAddr))
	ctx = context.WithValue(ctx, deliveryCtxKey, true)
	r := &http.Request{
		Method:        in.Method,
		URL:           &url.URL{Path: target.Path, RawPath: target.RawPath, RawQuery: target.RawQuery, ForceQuery: target.ForceQuery},
		RequestURI:    in.URI,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Host:          in.Host,
		RemoteAddr:    in.RemoteAddr,
		Body:          http.NoBody,
		ContentLength: int64(len(in.Body)),
	}
	if len(in.Body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(in.Body))
	}
	if in.TLS {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	return r.WithContext(ctx), nil
}

// localAddr reads the stored address of our own end of the connection.
func localAddr(text string) net.Addr {
	addr, err := netip.ParseAddrPort(text)
	if err != nil {
		return new(net.TCPAddr)
	}
	return net.TCPAddrFromAddrPort(addr)
}

// ownMost is how many headers an attempt gets from us at most, proxyMost how many
// a proxy adds to them. A map that has to grow costs more than one that is roomy.
const (
	ownMost   = 9
	proxyMost = 6
)

// attemptHeader returns the headers of an attempt: those of the sender, again
// without any that may not go on, and ours.
func attemptHeader(a relay.Attempt) http.Header {
	h := captureHeader(a.Message.Request.Header, a.Message.Request.TrustedProxy, nil, ownMost+proxyMost)
	setOwnFields(h, a)
	return h
}

// setOwnFields adds our headers to those of the sender.
func setOwnFields(h http.Header, a relay.Attempt) {
	values := make([]string, 0, ownMost) // what the values of our headers share
	ownFields(a, len(h["Idempotency-Key"]) > 0, func(name, value string) {
		if httpguts.ValidHeaderFieldValue(value) {
			n := len(values)
			values = append(values, value)
			h[name] = values[n : n+1 : n+1]
		}
	})
}

// ownFields calls set with our headers, of which none is empty. keyed says that
// the sender has an Idempotency-Key.
func ownFields(a relay.Attempt, keyed bool, set func(name, value string)) {
	m := a.Message
	id := m.ID.String()
	set("Relay-Id", id)
	for _, field := range [...]struct{ name, value string }{
		{"Relay-Source", m.Source}, {"Relay-Event-Id", m.EventID}, {"Relay-Type", m.Type}, {"Relay-Verified", m.VerifiedBy},
	} {
		if field.value != "" {
			set(field.name, field.value)
		}
	}
	set("Relay-Attempt", strconv.FormatUint(uint64(a.Number), 10))
	set("Relay-Received-At", m.ReceivedAt.Format(time.RFC3339Nano))
	if a.Delivery.ReplayOf != 0 {
		set("Relay-Replay", "1")
	}
	if keyed {
		return
	}
	if a.Delivery.Generation > 0 {
		id += "-r" + strconv.FormatUint(uint64(a.Delivery.Generation), 10)
	}
	set("Idempotency-Key", id)
}
