// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
	"github.com/caddy-relay/caddy-relay/relay/scheme/schemetest"
)

// vector is a request of a provider, as relay/scheme's own tests have it.
type vector struct{ schemetest.Vector }

// vectorsOf are those of the counterpart.
func vectorsOf(t testing.TB, c *counterpart) []vector {
	t.Helper()
	all, err := schemetest.Vectors()
	if err != nil {
		t.Fatal(err)
	}
	var of []vector
	for _, v := range all {
		if slices.Contains(c.vectors, v.Name()) {
			of = append(of, vector{v})
		}
	}
	return of
}

func (v *vector) valid() bool { return v.Expect == "valid" }

func (v *vector) now() time.Time {
	if v.Now == nil {
		return noon
	}
	return time.Unix(*v.Now, 0)
}

func (v *vector) request() *scheme.Request {
	r := &scheme.Request{Method: v.Method, URL: v.URL, Header: v.Header(), Body: v.Body}
	if u, err := url.Parse(v.URL); err == nil {
		r.Host = u.Host
	}
	return r
}

func TestBothSayOfEveryVectorWhatItsSourceSays(t *testing.T) {
	for _, c := range counterparts() {
		vectors := vectorsOf(t, c)
		if len(vectors) == 0 && len(c.vectors) > 0 {
			t.Errorf("%s: no vectors of %v", c, c.vectors)
		}
		for _, v := range vectors {
			t.Run(c.String()+"/"+v.ID, func(t *testing.T) {
				at(t, v.now(), func(t *testing.T) { c.checkVector(t, &v) })
			})
		}
	}
}

func (c *counterpart) checkVector(t *testing.T, v *vector) {
	j := c.judges(t, v.Secret)
	r := v.request()
	ours, theirs := j.ask(r)
	if (ours == nil) != v.valid() {
		t.Errorf("relay/scheme says %v, expected %s: %s", ours, v.Expect, v.Why)
	}
	if (theirs == nil) != v.valid() {
		t.Errorf("%s says %v, expected %s: %s", c.library, theirs, v.Expect, v.Why)
	}
	if err := j.excess(r, ours, theirs); err != nil {
		t.Error(err)
	}
}
