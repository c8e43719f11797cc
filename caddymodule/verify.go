// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// provisionVerify loads the schemes and compiles them with the dedupe rule.
func (h *Handler) provisionVerify(ctx caddy.Context, app *App) error {
	environment := slices.ContainsFunc(h.VerifyRaw, func(raw json.RawMessage) bool { return fromEnvironment(string(raw)) })
	var err error
	if h.rule, err = newRule(h.Dedupe, len(h.VerifyRaw) > 0); err != nil {
		return err
	}
	if looksSecret(h.Name) {
		h.log.Warn("the name of the relay holds what looks like a token, and names stand in metrics, logs and the Relay-Source header: give it another with name",
			zap.String("origin", h.Origin))
	}
	if len(h.VerifyRaw) == 0 {
		h.log.Warn("relay verifies nothing: whoever finds its URL can send to the app; add verify", zap.String("origin", h.Origin))
	} else if err := h.loadSchemes(ctx, app); err != nil {
		return err
	}
	if err := h.checkRule(); err != nil {
		return err
	}
	if h.rule.off {
		h.log.Info("duplicates are not looked for", zap.String("origin", h.Origin))
	}
	if environment && printsEnvironment(os.Args) && app.warnOnce("environ") {
		h.log.Warn("this process prints its environment at start (--environ); keep secrets in files")
	}
	return nil
}

// checkRule turns deduping off where neither the relay nor a scheme of it says
// what makes two requests the same event.
func (h *Handler) checkRule() error {
	if h.rule.off || h.rule.own != nil || slices.ContainsFunc(h.bindings, func(b *binding) bool {
		s := b.scheme
		return len(s.EventID) > 0 && s.Unidentified == "" || len(s.Identity) > 0 || s.IdentityBody
	}) {
		return nil
	}
	if h.Dedupe != nil {
		return errNoRule
	}
	h.rule.off = true
	return nil
}

// loadSchemes loads the schemes and binds them to their secrets.
func (h *Handler) loadSchemes(ctx caddy.Context, app *App) error {
	guests, err := ctx.LoadModule(h, "VerifyRaw")
	if err != nil {
		return err
	}
	for _, guest := range guests.([]any) {
		module, ok := guest.(SchemeModule)
		if !ok {
			return fmt.Errorf("verify: %T is no caddymodule.SchemeModule", guest)
		}
		b, err := bind(app, h.Name, "verify", module, h.rule.adjust, h.log)
		if err != nil {
			return err
		}
		h.bindings, h.held = append(h.bindings, b), append(h.held, b)
		asksURL := slices.ContainsFunc(b.scheme.Handshakes, func(q scheme.Handshake) bool { return q.Compute == "ebay" })
		if h.public == "" && (asksURL || b.scheme.CoversURL()) {
			b.log.Warn("the provider signs the URL that it calls; if that differs from what arrives here, no request verifies: give it with public_url")
		}
		h.warnDropped(ctx, b)
	}
	return nil
}

// verified is what a good request was found to be.
type verified struct {
	verdict scheme.Verdict

	// scheme is the one that verified it, nil for a relay that verifies nothing.
	scheme *scheme.Scheme
}

// verify tries all schemes until one verifies the request, but those that have
// taken it for a handshake of theirs.
func (h *Handler) verify(request *scheme.Request, asked []*binding) (verified, *refusal) {
	if len(h.bindings) == 0 {
		return verified{}, nil
	}
	now := h.now()
	var best *scheme.Failure
	var by *binding
	for _, b := range h.bindings {
		if slices.Contains(asked, b) {
			continue
		}
		verdict, err := b.verifier().Verify(request, now)
		if err == nil {
			b.matched(verdict)
			if !verdict.Timestamp.IsZero() {
				b.inTime(now)
			}
			return verified{verdict, b.scheme}, nil
		}
		if f := asFailure(err); best == nil || nearness(f) > nearness(best) {
			best, by = f, b
		}
	}
	if isStale(best) && by.suspects(now, best) {
		return verified{}, outOfTime(best)
	}
	return verified{}, h.unverified(best, by.scheme)
}

// asFailure returns the failure that an error of a verifier is.
func asFailure(err error) *scheme.Failure {
	if f, ok := errors.AsType[*scheme.Failure](err); ok {
		return f
	}
	return &scheme.Failure{Reason: scheme.ErrUnavailable}
}

// signedRequest is the request as the sender signed it: with the URL that it
// called, whatever has rewritten it since.
func (h *Handler) signedRequest(r *http.Request, body []byte) *scheme.Request {
	uri, host := sentURI(r), r.Host
	if h.public != "" {
		return &scheme.Request{Method: r.Method, URL: h.public + uri, Header: r.Header, Host: hostOf(h.public), Body: body, Remote: remoteIP(r)}
	}
	protocol := "http://"
	if r.TLS != nil {
		protocol = "https://"
	}
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		if proto := r.Header.Get("X-Forwarded-Proto"); proto == "http" || proto == "https" {
			protocol = proto + "://"
		}
		if forwarded := r.Header.Get("X-Forwarded-Host"); forwarded != "" {
			host = forwarded
		}
	}
	return &scheme.Request{Method: r.Method, URL: protocol + host + uri, Header: r.Header, Host: host, Body: body, Remote: remoteIP(r)}
}

// sentURI is the path and query that the sender called, whatever has rewritten
// them since.
func sentURI(r *http.Request) string {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return r.RequestURI
	}
	if !strings.HasPrefix(original.RequestURI, "/") {
		return original.URL.RequestURI()
	}
	return original.RequestURI
}

// remoteIP is the address that a request came from, for logs.
func remoteIP(r *http.Request) string {
	if ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok && ip != "" {
		return ip
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// localAddrOf is our own end of the connection.
func localAddrOf(r *http.Request) string {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return addr.String()
	}
	return ""
}

// warnDropped warns of headers that Caddy takes away before a scheme sees them.
func (h *Handler) warnDropped(ctx caddy.Context, b *binding) {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil {
		return
	}
	for _, name := range b.scheme.SignatureHeaders() {
		listed := func(list []string) bool {
			return slices.ContainsFunc(list, func(other string) bool { return strings.EqualFold(other, name) })
		}
		switch {
		case strings.Contains(name, "_") && !listed(server.ExpectedUnderscoreHeaders):
			b.log.Warn("Caddy drops the header that carries the signature: list it in the global option servers { expected_underscore_headers ... }", zap.String("header", name))
		case strings.Contains(name, ".") && !listed(server.ExpectedDotHeaders):
			b.log.Warn("Caddy drops the header that carries the signature: list it in the global option servers { expected_dot_headers ... }", zap.String("header", name))
		}
	}
}
