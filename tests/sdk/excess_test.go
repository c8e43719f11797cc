// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// snippets are what headers of signatures are made of.
var snippets = []string{
	",", ";", "=", " ", "|", ".", "\t", "\n", "\x00", "0", "A", "+", "-", "%", "&", "\"",
	"v0=", "v1=", "v1,", "v2=", "t=", "ts=", "h1=", "h2=", "sha1=", "sha256=", "x=y", ",x=a=b", ",v1=00", ";h1=00", " v1,AAAA", "timestamp=1",
}

func TestNoChangedHeaderIsAcceptedThatALibraryRefuses(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		r, signed, secret := c.genuine(t)
		j := c.judges(t, secret)
		for _, name := range signed {
			value := r.Header.Get(name)
			for i := range len(value) {
				for bit := range 8 {
					j.check(t, with(r, name, value[:i]+string([]byte{value[i] ^ 1<<bit})+value[i+1:]))
				}
				j.check(t, with(r, name, value[:i]+value[i+1:]))
				j.check(t, with(r, name, value[:i]+value[i:i+1]+value[i:]))
			}
			for _, snippet := range snippets {
				for i := range len(value) + 1 {
					j.check(t, with(r, name, value[:i]+snippet+value[i:]))
				}
			}
			j.check(t, with(r, name, value, value))
			j.check(t, with(r, name, value, ""))
			j.check(t, with(r, name, "", value))
			j.check(t, with(r, name, value+","+value))
		}
	})
}

// Whatever a stranger does to a request that the provider signed, in places that the signature covers and in others.
func TestNoChangedRequestIsAcceptedThatALibraryRefuses(t *testing.T) {
	each(t, func(t *testing.T, c *counterpart) {
		r, signed, secret := c.genuine(t)
		j := c.judges(t, secret)
		// Without the deadline, which no bubble tells.
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) {
			forged := clone(r)
			for range rapid.IntRange(1, 4).Draw(t, "changes") {
				change(t, forged, signed)
			}
			ours, theirs := j.ask(forged)
			if err := j.excess(forged, ours, theirs); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// change makes one change to a request.
func change(t *rapid.T, r *scheme.Request, signed []string) {
	places := []string{"body", "method", "content type", "no body"}
	if len(signed) > 0 {
		places = slices.Concat([]string{"header", "header", "line", "remove"}, places)
	}
	place := rapid.SampledFrom(places).Draw(t, "place")
	name := ""
	if slices.Contains([]string{"header", "line", "remove"}, place) {
		name = rapid.SampledFrom(signed).Draw(t, "header")
	}
	switch place {
	case "header":
		r.Header.Set(name, edit(t, r.Header.Get(name)))
	case "line":
		r.Header.Add(name, edit(t, r.Header.Get(name)))
	case "remove":
		r.Header.Del(name)
	case "body":
		r.Body = []byte(edit(t, string(r.Body)))
	case "no body":
		r.Body = rapid.SampledFrom([][]byte{nil, []byte("&"), []byte("="), []byte("{}")}).Draw(t, "instead")
	case "method":
		r.Method = rapid.SampledFrom([]string{http.MethodGet, http.MethodPost, http.MethodPut}).Draw(t, "method")
	case "content type":
		r.Header.Set("Content-Type", rapid.SampledFrom([]string{"application/json", "application/x-www-form-urlencoded"}).Draw(t, "type"))
	}
}

// edit replaces a part of the text by a snippet.
func edit(t *rapid.T, text string) string {
	from := rapid.IntRange(0, len(text)).Draw(t, "from")
	to := rapid.IntRange(from, min(len(text), from+3)).Draw(t, "to")
	return text[:from] + rapid.SampledFrom(append(slices.Clone(snippets), "")).Draw(t, "snippet") + text[to:]
}

// with is the request with other lines of one header.
func with(r *scheme.Request, name string, lines ...string) *scheme.Request {
	c := clone(r)
	c.Header[name] = lines
	return c
}

// check fails if relay/scheme accepts what the library refuses.
func (j *judges) check(t testing.TB, r *scheme.Request) {
	t.Helper()
	ours, theirs := j.ask(r)
	if err := j.excess(r, ours, theirs); err != nil {
		t.Error(err)
	}
}

// TestDocumentedDifferencesAreStillThere keeps the list of differences short: one that is gone has to leave it.
func TestDocumentedDifferencesAreStillThere(t *testing.T) {
	examples := map[string]func(t testing.TB, c *counterpart) *scheme.Request{
		equalsInUnknownField.name: func(t testing.TB, c *counterpart) *scheme.Request {
			return c.respelled(t, "Stripe-Signature", func(v string) string { return v + ",x=YQ==" })
		},
		moreBuildkiteFields.name: func(t testing.TB, c *counterpart) *scheme.Request {
			return c.respelled(t, "X-Buildkite-Signature", func(v string) string { return v + ",v2=0" })
		},
		severalPaddleSignatures.name: func(t testing.TB, c *counterpart) *scheme.Request {
			return c.respelled(t, "Paddle-Signature", func(v string) string { return v + ";h1=dummy;h2=" + v[len(v)-64:] })
		},
		repeatedTwilioParameters.name: func(t testing.TB, c *counterpart) *scheme.Request {
			r := c.event()
			r.Body = []byte("MessageSid=SM1&MediaUrl=b&MediaUrl=a&MediaUrl=b")
			c.sign(t, r, noon)
			return r
		},
		brokenMailgunEvent.name: func(t testing.TB, c *counterpart) *scheme.Request {
			r, _, _ := c.genuine(t)
			r.Body = append(r.Body, "}"...)
			return r
		},
		upperCaseHex("").name: func(t testing.TB, c *counterpart) *scheme.Request {
			return c.respelled(t, c.scheme(t).Signature.Header, upperCaseDigits)
		},
	}
	each(t, func(t *testing.T, c *counterpart) {
		_, _, secret := c.genuine(t)
		j := c.judges(t, secret)
		for _, d := range c.differences {
			r := examples[d.name](t, c)
			ours, theirs := j.ask(r)
			if ours != nil || theirs == nil {
				t.Errorf("%s: relay/scheme says %v, %s says %v", d.name, ours, c.library, theirs)
			}
			one := *c
			one.differences = []difference{d}
			if err := one.judges(t, secret).excess(r, ours, theirs); err != nil {
				t.Errorf("%s: not explained: %v", d.name, err)
			}
		}
	})
}

// respelled is a genuine request with one header written in another way.
func (c *counterpart) respelled(t testing.TB, name string, how func(string) string) *scheme.Request {
	t.Helper()
	r, _, _ := c.genuine(t)
	r.Header.Set(name, how(r.Header.Get(name)))
	return r
}

// upperCaseDigits changes the SHA-256 at the end of a header, and no name of a field before it.
func upperCaseDigits(value string) string {
	return value[:len(value)-64] + strings.ToUpper(value[len(value)-64:])
}
