// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/wire"
)

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
func (d *direct) deliver(ctx context.Context, a relay.Attempt, header http.Header) (relay.Result, bool) {
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
	if !writeFields(request, header, in) {
		return relay.Result{}, false
	}
	request.Finish(in.Body)
	answer, err := d.client.Do(ctx, request)
	rec := &capture{header: answer.Header, status: answer.Status, head: answer.Head}
	if errors.Is(err, wire.ErrIncomplete) && ctx.Err() == nil {
		return relay.Result{Outcome: store.Broken, Err: err}, true
	}
	return classify(ctx, &http.Request{Method: in.Method, URL: target, Host: in.Host}, rec, err), true
}

// writeFields writes the headers of an attempt as a proxy does. It returns false
// where one of those that a proxy adds can not be written.
func writeFields(request *wire.Request, header http.Header, in *store.Request) bool {
	for name, values := range header {
		switch name {
		case "Alt-Svc", "Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host":
		case "User-Agent":
			if len(values) > 0 && values[0] != "" {
				request.Field(name, values[0])
			}
		default:
			request.Field(name, values...)
		}
	}
	return request.Field("Via", "1.1 Caddy") && writeForwarded(request, header, in)
}

// writeForwarded says for whom the request is made. What the sender says of that
// counts if it is a trusted proxy.
func writeForwarded(request *wire.Request, header http.Header, in *store.Request) bool {
	ip := ""
	if in.RemoteAddr == "@" { // a unix socket
		if !in.TrustedProxy {
			return true
		}
	} else {
		var ok bool
		if ip, ok = splitRemote(in.RemoteAddr); !ok {
			return true
		}
	}
	var before []string
	proto, host := "http", in.Host
	if in.TLS {
		proto = "https"
	}
	if in.TrustedProxy {
		before = header["X-Forwarded-For"]
		proto = lastOr(header["X-Forwarded-Proto"], proto)
		host = lastOr(header["X-Forwarded-Host"], host)
	}
	return writeFor(request, strings.Join(before, ", "), ip, before) &&
		request.Field("X-Forwarded-Proto", proto) && request.Field("X-Forwarded-Host", host)
}

// writeFor writes X-Forwarded-For with the address of the peer behind what came
// before it.
func writeFor(request *wire.Request, prior, ip string, before []string) bool {
	switch {
	case prior == "" && ip == "":
		return request.Field("X-Forwarded-For", before...)
	case prior == "":
		return request.Field("X-Forwarded-For", ip)
	case ip == "":
		return request.Field("X-Forwarded-For", prior)
	}
	return request.Field("X-Forwarded-For", prior+", "+ip)
}

// lastOr returns the last value, or another one where that is empty.
func lastOr(values []string, other string) string {
	if len(values) == 0 || values[len(values)-1] == "" {
		return other
	}
	return values[len(values)-1]
}
