// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// resignMargin is the most that an attempt is taken to need on its way, and
// clocks to differ: a signature is made again a tenth of its tolerance before it
// is too old, but not earlier than that.
const resignMargin = 30 * time.Second

// Resign says what signature the app gets.
type Resign struct {
	// Whether the sender's signature always goes on as it came. Default: false.
	Off bool `json:"off,omitempty"`

	// The scheme and secrets with which everything is signed that the app gets; the
	// sender's own signature is left out. Default: the sender's signature goes on,
	// made again where it would be too old.
	SchemeRaw json.RawMessage `json:"scheme,omitempty" caddy:"namespace=relay.schemes inline_key=scheme"`

	binding *binding
}

// provisionResign binds the scheme of a resign option, if it has one.
func (h *Handler) provisionResign(ctx caddy.Context, app *App, r *Resign) error {
	switch {
	case r == nil || r.SchemeRaw == nil:
		return nil
	case r.Off:
		return fmt.Errorf("resign: off excludes a scheme")
	}
	guest, err := ctx.LoadModule(r, "SchemeRaw")
	if err != nil {
		return fmt.Errorf("resign: %w", err)
	}
	module, ok := guest.(SchemeModule)
	if !ok {
		return fmt.Errorf("resign: %T is no caddymodule.SchemeModule", guest)
	}
	b, err := bind(app, h.Name, "resign", module, nil, h.log)
	if err != nil {
		return err
	}
	h.held = append(h.held, b)
	r.binding = b
	if v := b.verifier(); v != nil {
		if err := v.CanSign(); err != nil {
			return fmt.Errorf("resign %s: %w%s", b.scheme.Name, err, at(b.config.Origin))
		}
	}
	return nil
}

// resigner makes the signatures that attempts carry.
type resigner struct {
	off      bool
	always   *binding   // nil: only what has become too old
	received []*binding // the schemes of the relay
	public   string
	now      func() time.Time
	log      *zap.Logger
}

// resigner returns what follows from the resign option of a destination.
func (h *Handler) resigner(r *Resign) *resigner {
	s := &resigner{received: h.bindings, public: h.public, now: h.now, log: h.sampled}
	if r != nil {
		s.off, s.always = r.Off, r.binding
	}
	return s
}

// lateness is how old the sender's signature is that an attempt carries although
// it is too old for an app that looks; zero if it is not.
type lateness struct{ age, fresh time.Duration }

// header returns the headers of an attempt with the signature that it carries.
func (s *resigner) header(a relay.Attempt) (http.Header, lateness, error) {
	h := attemptHeader(a)
	late, err := s.apply(a.Message, h)
	return h, late, err
}

// spares reports whether the headers of an attempt need nothing of it, which is the
// usual case, and how late the attempt is if so.
func (s *resigner) spares(m *store.Message) (lateness, bool) {
	switch {
	case s.idle(m):
		return lateness{}, true
	case s.always != nil:
		return lateness{}, false
	}
	signer, late := s.late(m, storedRequest(m, m.Request.Header, s.public))
	return late, signer == nil
}

// idle reports whether an attempt carries the signature of the sender, or none,
// and whatever its age.
func (s *resigner) idle(m *store.Message) bool {
	return s == nil || s.always == nil &&
		!slices.ContainsFunc(s.received, func(b *binding) bool { return b.scheme.Name == m.VerifiedBy && b.fresh != 0 })
}

// apply puts the signature of an attempt among its headers.
func (s *resigner) apply(m *store.Message, header http.Header) (lateness, error) {
	if s.idle(m) {
		return lateness{}, nil
	}
	request := storedRequest(m, header, s.public)
	if s.always != nil {
		return lateness{}, s.signAll(m, request, header)
	}
	signer, late := s.late(m, request)
	if signer == nil {
		return late, nil
	}
	set, err := signer.Sign(request, "", s.now())
	if err != nil {
		s.log.Warn("signature is too old for the app and can not be made again", zap.String("source", m.Source), zap.Error(err))
		return late, nil
	}
	maps.Copy(header, set)
	return lateness{}, nil
}

// signAll signs in the configured scheme, in the place of the sender.
func (s *resigner) signAll(m *store.Message, request *scheme.Request, header http.Header) error {
	v := s.always.verifier()
	if v == nil {
		return fmt.Errorf("resign: %w", errSecretAbsent)
	}
	for _, b := range s.received {
		if b.scheme.Name != m.VerifiedBy {
			continue
		}
		for _, name := range b.scheme.SignatureHeaders() {
			delete(header, name)
		}
	}
	// An id that the sender has signed stays; any other is of our own making.
	id := m.ID.String()
	if m.VerifiedBy == s.always.scheme.Name {
		id = ""
	}
	set, err := v.Sign(request, id, s.now())
	if err != nil {
		return fmt.Errorf("resign: %w", err)
	}
	maps.Copy(header, set)
	return nil
}

// late returns who can make the signature of a message again, nil if it is fresh
// or nobody can. Of several schemes of one name it is that which has verified the
// message, whatever its secrets are called now.
func (s *resigner) late(m *store.Message, request *scheme.Request) (signer *scheme.Verifier, late lateness) {
	for _, b := range s.received {
		if b.scheme.Name != m.VerifiedBy || b.fresh == 0 {
			continue
		}
		v := b.verifier()
		if v == nil {
			continue
		}
		signed, ok := v.Timestamp(request)
		if !ok {
			continue
		}
		age := s.now().Sub(signed)
		if age <= b.fresh-min(b.fresh/10, resignMargin) {
			return nil, lateness{}
		}
		late = lateness{age, b.fresh}
		if s.off {
			return nil, late
		}
		_, err := v.Verify(request, signed)
		if err == nil {
			return v, late
		}
		// Its secret may have been replaced since. A signature over a URL that we do
		// not know is not ours to make.
		if signer == nil && !b.scheme.CoversURL() {
			signer = v
		}
	}
	return signer, late
}

// explain adds to a refusal by the app what may be the reason.
func (l lateness) explain(r relay.Result) relay.Result {
	if l.age == 0 || r.Err == nil || r.Outcome != store.Refused || !slices.Contains([]int{400, 401, 403}, r.Status) {
		return r
	}
	r.Err = fmt.Errorf("%w; the sender's signature is %s old by now and its library accepts %s: use resign",
		r.Err, l.age.Round(time.Second), l.fresh)
	return r
}

// storedRequest is a stored message as its sender has signed it, with the headers
// of an attempt.
func storedRequest(m *store.Message, header http.Header, public string) *scheme.Request {
	in := &m.Request
	url, host := "http://"+in.Host, in.Host
	switch {
	case public != "":
		url, host = public, hostOf(public)
	case in.TLS:
		url = "https://" + in.Host
	}
	return &scheme.Request{Method: in.Method, URL: url + cmp.Or(in.SentURI, in.URI), Header: header, Host: host, Body: in.Body}
}
