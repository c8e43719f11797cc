// SPDX-License-Identifier: Apache-2.0

// Package sdk sets relay/scheme against the libraries that providers give to receivers: what is signed here they must
// accept, what they sign must be accepted here, and nothing may be accepted here that they refuse. It is a module of its
// own, so that nobody who builds a Caddy with this module inherits those libraries.
package sdk

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// noon is the time at which the tests sign.
var noon = time.Unix(1750000000, 0)

// verifier is a library's own verification of a request, as its documentation tells a receiver to call it. body is what
// r.Body holds. It returns nil for a request that the library accepts.
type verifier func(secret string, r *http.Request, body []byte) error

// counterpart is a library, and the preset that is to agree with it.
type counterpart struct {
	library string
	preset  string
	verify  verifier

	// vectors are the providers, or providers/variants, of relay/scheme's vectors that the library is to agree on.
	vectors []string
	// secret signs requests and other does not fit them.
	secret, other secret
	// request is an event of the provider without its signature. Default: a JSON object.
	request func() *scheme.Request

	// timed says that the library itself refuses what is too old.
	timed bool
	// bodyUnsigned says that the provider's signature does not cover the body.
	bodyUnsigned bool
	// unsigned says that the signature lies in the body, where only the provider can put it. A vector then takes the
	// place of request and secret.
	unsigned bool
	// differences are the only cases in which the library refuses what relay/scheme accepts.
	differences []difference
}

// secret is one key: what signs with it, and what the receiver configures.
type secret struct{ signs, verifies string }

// shared is a key that both sides have.
func shared(text string) secret { return secret{text, text} }

// difference is a documented one: requests that the library refuses and that the provider's other libraries, and so
// relay/scheme, accept.
type difference struct {
	name string
	// plain writes a request of that kind in the ways that the library reads. It accepts one of them if it differs from
	// relay/scheme in this alone.
	plain func(r *scheme.Request) []*scheme.Request
}

func (c *counterpart) String() string {
	if c.library == c.preset {
		return c.library
	}
	return c.library + "/" + c.preset
}

// scheme returns the preset.
func (c *counterpart) scheme(t testing.TB) *scheme.Scheme {
	t.Helper()
	s, ok := scheme.Preset(c.preset)
	if !ok {
		t.Fatalf("no preset %s", c.preset)
	}
	return s
}

// compile binds a preset to secrets.
func compile(t testing.TB, s *scheme.Scheme, secrets ...string) *scheme.Verifier {
	t.Helper()
	list := make([][]byte, len(secrets))
	for i, text := range secrets {
		list[i] = []byte(text)
	}
	v, err := s.Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// event is a request that is not signed yet.
func (c *counterpart) event() *scheme.Request {
	if c.request != nil {
		return c.request()
	}
	return post("https://example.com/hooks", "application/json",
		`{"id":"evt_1","type":"invoice.paid","event":"invoice.paid","data":{"note":"5 > 4 \u00e9 é"}}`)
}

func post(address, contentType, body string) *scheme.Request {
	return &scheme.Request{
		Method: http.MethodPost, URL: address, Host: "example.com",
		Header: http.Header{"Content-Type": {contentType}}, Body: []byte(body),
	}
}

// genuine is a request that the provider could have sent at noon, with the names of the headers that were signed, and
// the secret to verify it with.
func (c *counterpart) genuine(t testing.TB) (r *scheme.Request, signed []string, verifies string) {
	t.Helper()
	if c.unsigned {
		for _, v := range vectorsOf(t, c) {
			if v.valid() && v.now().Equal(noon) {
				return v.request(), nil, v.Secret
			}
		}
		t.Fatalf("no valid vector of %v", c.vectors)
	}
	r = c.event()
	set := c.sign(t, r, noon)
	return r, slices.Sorted(maps.Keys(set)), c.secret.verifies
}

// sign signs a request in place and returns the headers that were set.
func (c *counterpart) sign(t testing.TB, r *scheme.Request, now time.Time) http.Header {
	t.Helper()
	set, err := compile(t, c.scheme(t), c.secret.signs).Sign(r, "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", now)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, set)
	return set
}

// judges are both verifications with one secret.
type judges struct {
	*counterpart
	ours   *scheme.Verifier
	secret string
}

func (c *counterpart) judges(t testing.TB, verifies string) *judges {
	t.Helper()
	return &judges{c, compile(t, c.scheme(t), verifies), verifies}
}

// ask lets both verify a request at the present time of the bubble.
func (j *judges) ask(r *scheme.Request) (ours, theirs error) {
	_, ours = j.ours.Verify(r, time.Now())
	return ours, j.askLibrary(r)
}

// errPanic says that a library panicked, which is how some refuse.
var errPanic = errors.New("library panicked")

func (j *judges) askLibrary(r *scheme.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	address, err := url.Parse(r.URL)
	if err != nil {
		return err
	}
	return j.verify(j.secret, &http.Request{
		Method: r.Method, URL: address, RequestURI: r.URL, Host: r.Host, Header: r.Header.Clone(),
		ContentLength: int64(len(r.Body)), Body: io.NopCloser(bytes.NewReader(r.Body)),
	}, bytes.Clone(r.Body))
}

// excess returns a complaint if relay/scheme accepted what the library refused, and not for a documented difference.
func (j *judges) excess(r *scheme.Request, ours, theirs error) error {
	if accepted := ours == nil && theirs != nil; !accepted {
		return nil
	}
	for _, d := range j.differences {
		for _, plain := range d.plain(r) {
			if j.askLibrary(plain) == nil {
				return nil
			}
		}
	}
	return fmt.Errorf("accepted what %s refuses (%w): %s %v %q", j.library, theirs, r.URL, r.Header, r.Body)
}

// refuse fails unless both refuse the request.
func (j *judges) refuse(t testing.TB, r *scheme.Request, why string) {
	t.Helper()
	ours, theirs := j.ask(r)
	if err := cmp.Or(j.excess(r, ours, theirs), accepted(ours, "relay/scheme"), accepted(theirs, j.library)); err != nil {
		t.Errorf("%s: %v", why, err)
	}
}

func accepted(verdict error, by string) error {
	if verdict == nil {
		return fmt.Errorf("%s accepts it", by)
	}
	return nil
}

// accept fails unless both accept the request.
func (j *judges) accept(t testing.TB, r *scheme.Request, why string) {
	t.Helper()
	ours, theirs := j.ask(r)
	if ours != nil || theirs != nil {
		t.Errorf("%s: relay/scheme says %v, %s says %v; headers %v", why, ours, j.library, theirs, r.Header)
	}
}

// clone is a request that can be changed without touching the original.
func clone(r *scheme.Request) *scheme.Request {
	c := *r
	c.Header = r.Header.Clone()
	c.Body = bytes.Clone(r.Body)
	return &c
}

// each runs a subtest for each counterpart, with the clock of its bubble at noon.
func each(t *testing.T, f func(t *testing.T, c *counterpart)) {
	for _, c := range counterparts() {
		t.Run(c.String(), func(t *testing.T) {
			at(t, noon, func(t *testing.T) { f(t, c) })
		})
	}
}

// at runs f in a bubble whose clock stands at now, because the libraries ask time.Now.
func at(t *testing.T, now time.Time, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(now)) // passes at once
		f(t)
	})
}

// counterparts is the table; the libraries' entries are in the files of their families.
func counterparts() []*counterpart {
	return slices.Concat(standardCounterparts(), paymentCounterparts(), messageCounterparts(), codeCounterparts())
}
