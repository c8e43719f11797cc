// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/wire"
)

// largestDirect is the largest request, with its headers, that is made directly. It
// must fit what a connection takes in without being read, or an app that answers
// before it has read all could not be heard.
const largestDirect = 64 << 10

// direct makes the attempts of a plain proxy: with the same bytes to the upstream
// and the same outcomes as Caddy's own, at less than half of the cost.
type direct struct {
	client  *wire.Client
	rewrite func(*url.URL) // nil where there is none
}

func newDirect(p *plainProxy) *direct {
	d := &direct{client: wire.New(p.address, wire.Options{MaxIdle: p.maxIdle})}
	if p.uri != "" {
		d.rewrite = rewriting(p.uri)
	}
	return d
}

// close lets the connections go.
func (d *direct) close() {
	if d != nil {
		d.client.Close()
	}
}

// rewriting returns what a rewrite to an URI without placeholders does.
func rewriting(uri string) func(*url.URL) {
	made := &http.Request{URL: new(url.URL)}
	rewrite.Rewrite{URI: uri}.Rewrite(made, caddy.NewEmptyReplacer())
	path, query := made.URL.Path, made.URL.RawQuery
	replaced := strings.Contains(uri, "?")
	return func(u *url.URL) {
		u.Path, u.RawPath = path, ""
		if replaced {
			u.RawQuery = query
		}
	}
}

// takes reports whether an attempt is one of those that are made directly: those
// without a sender who waits for the answer, and whose request is small.
func (d *direct) takes(a relay.Attempt) bool {
	return d != nil && a.Waiter == nil && len(a.Message.Request.Body) < wholeRequest
}

// deliver makes an attempt. It returns false, and has sent nothing, where the
// request has something in it that Caddy's own proxy should judge.
func (d *direct) deliver(ctx context.Context, a relay.Attempt, signs *resigner) (result relay.Result, made bool) {
	in := &a.Message.Request
	target, err := url.ParseRequestURI(in.URI)
	if err != nil || target.Scheme != "" {
		return relay.Result{}, false
	}
	if d.rewrite != nil {
		d.rewrite(target)
	}
	request := wire.NewRequest()
	defer request.Release()
	if err := request.Start(in.Method, target.RequestURI(), in.Host); err != nil {
		return relay.Result{}, false
	}
	late, spared := signs.spares(a.Message)
	if spared {
		made = writeStored(request, a)
	} else {
		var header http.Header
		if header, late, err = signs.header(a); err != nil {
			return relay.Result{Outcome: store.Broken, Err: err}, true
		}
		made = writeReady(request, header, in)
	}
	if !made {
		return relay.Result{}, false
	}
	if request.Finish(in.Body); request.Size() > largestDirect {
		return relay.Result{}, false
	}
	answer, err := d.client.Do(ctx, request)
	switch {
	case err == nil:
		// The answer is whole, and counts whatever has ended since.
		ctx = context.WithoutCancel(ctx)
	case errors.Is(err, wire.ErrIncomplete) && ctx.Err() == nil:
		return relay.Result{Outcome: store.Broken, Err: err}, true
	}
	rec := &capture{header: answer.Header, status: answer.Status, head: answer.Head}
	return late.explain(classify(ctx, &http.Request{Method: in.Method, URL: target, Host: in.Host}, rec, err)), true
}

// writeStored writes the headers of an attempt from what is stored of the message.
// It does so without the map that attemptHeader makes of the same.
func writeStored(request *wire.Request, a relay.Attempt) bool {
	in := &a.Message.Request
	filter := fieldFilter{forwarding: in.TrustedProxy, named: connectionNamed(in.Header)}
	keyed := false
	for name, values := range in.Header {
		if filter.passes(name) && writeField(request, name, values) && name == "Idempotency-Key" {
			keyed = len(values) > 0
		}
	}
	ownFields(a, keyed, func(name, value string) { request.Field(name, value) })
	return writeProxied(request, in, func(name string) []string {
		if values := in.Header[name]; filter.passes(name) && validField(name, values) {
			return values
		}
		return nil
	})
}

// writeReady writes the headers of an attempt that are made already.
func writeReady(request *wire.Request, header http.Header, in *store.Request) bool {
	for name, values := range header {
		writeField(request, name, values)
	}
	return writeProxied(request, in, func(name string) []string { return header[name] })
}

// writeField writes a header as Caddy's proxy and net/http do, which keep some to
// themselves. It returns false where the header can not be sent.
func writeField(request *wire.Request, name string, values []string) bool {
	switch name {
	case "Alt-Svc", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host":
		return true
	case "User-Agent":
		if len(values) == 0 || values[0] == "" {
			return true
		}
		return validField(name, values) && request.Field(name, values[0])
	}
	return request.Field(name, values...)
}

// writeProxied writes what a proxy adds: that it is one, and for whom the request
// is made. What the sender says of that counts if it is a trusted proxy.
func writeProxied(request *wire.Request, in *store.Request, sent func(name string) []string) bool {
	if !request.Field("Via", "1.1 Caddy") {
		return false
	}
	ip := ""
	if in.RemoteAddr == "@" { // a unix socket
		if !in.TrustedProxy {
			return true
		}
	} else {
		host, _, err := net.SplitHostPort(in.RemoteAddr)
		if err != nil {
			return true
		}
		ip, _, _ = strings.Cut(host, "%")
	}
	forwarded := []string{ip}
	if ip == "" {
		forwarded = nil
	}
	proto, host := "http", in.Host
	if in.TLS {
		proto = "https"
	}
	if in.TrustedProxy {
		forwarded = forwardedFor(sent("X-Forwarded-For"), ip)
		proto = lastOr(sent("X-Forwarded-Proto"), proto)
		host = lastOr(sent("X-Forwarded-Host"), host)
	}
	return request.Field("X-Forwarded-For", forwarded...) && request.Field("X-Forwarded-Proto", proto) && request.Field("X-Forwarded-Host", host)
}

// forwardedFor adds the address of a trusted proxy to those that it has named.
func forwardedFor(before []string, ip string) []string {
	prior := strings.Join(before, ", ")
	switch {
	case ip == "" && prior == "":
		return before
	case ip == "":
		return []string{prior}
	case prior == "":
		return []string{ip}
	}
	return []string{prior + ", " + ip}
}

// lastOr returns the last value, or another one where that is empty.
func lastOr(values []string, other string) string {
	if len(values) == 0 || values[len(values)-1] == "" {
		return other
	}
	return values[len(values)-1]
}
