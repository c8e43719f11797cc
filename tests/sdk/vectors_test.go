// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// vector is a request of relay/scheme's own test data, which names its source.
type vector struct {
	ID       string              `json:"id"`
	Provider string              `json:"provider"`
	Variant  string              `json:"variant"`
	Secret   string              `json:"secret"`
	Method   string              `json:"method"`
	URL      string              `json:"url"`
	Headers  map[string][]string `json:"headers"`
	Body     []byte              `json:"body_b64"`
	Now      *int64              `json:"now"`
	Expect   string              `json:"expect"`
	Why      string              `json:"why"`
}

var allVectors = sync.OnceValues(func() ([]vector, error) {
	f, err := os.Open("../../relay/scheme/testdata/vectors.jsonl")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []vector
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, lines.Err()
})

// vectorsOf are those of the counterpart.
func vectorsOf(t testing.TB, c *counterpart) []vector {
	t.Helper()
	all, err := allVectors()
	if err != nil {
		t.Fatal(err)
	}
	var of []vector
	for _, v := range all {
		if slices.Contains(c.vectors, v.name()) {
			of = append(of, v)
		}
	}
	return of
}

func (v *vector) name() string {
	if v.Variant == "" {
		return v.Provider
	}
	return v.Provider + "/" + v.Variant
}

func (v *vector) valid() bool { return v.Expect == "valid" }

func (v *vector) now() time.Time {
	if v.Now == nil {
		return noon
	}
	return time.Unix(*v.Now, 0)
}

func (v *vector) request() *scheme.Request {
	r := &scheme.Request{Method: v.Method, URL: v.URL, Header: make(http.Header), Body: v.Body}
	for name, lines := range v.Headers {
		for _, line := range lines {
			r.Header.Add(name, line)
		}
	}
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
