// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/scheme/schemetest"
)

// vector is a request of a provider.
type vector struct{ schemetest.Vector }

// vectorPresets maps provider and variant of a vector to a preset of another name.
var vectorPresets = map[string]string{
	"github/legacy-sha1":            "github_sha1",
	"buildkite/token":               "buildkite_token",
	"hubspot/v1":                    "hubspot_v1",
	"hubspot/v2":                    "hubspot_v2",
	"plivo/v2":                      "plivo_v2",
	"messagebird/legacy":            "messagebird_legacy",
	"convoy/advanced-sha256-hex":    "convoy_advanced",
	"convoy/advanced-sha256-base64": "convoy_advanced",
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	rows, err := schemetest.Vectors()
	if err != nil {
		t.Fatal(err)
	}
	all := make([]vector, 0, len(rows))
	for _, row := range rows {
		all = append(all, vector{row})
	}
	return all
}

func (v *vector) request() *Request {
	r := &Request{Method: v.Method, URL: v.URL, Header: v.Header(), Body: v.Body}
	if u, err := url.Parse(v.URL); err == nil {
		r.Host = u.Host
	}
	return r
}

func (v *vector) now() time.Time {
	if v.Now == nil {
		return time.Unix(1750000000, 0)
	}
	return time.Unix(*v.Now, 0)
}

func (v *vector) preset() (*Scheme, bool) {
	name, ok := vectorPresets[v.Name()]
	if !ok {
		name = v.Provider
	}
	s, ok := Preset(name)
	if ok && v.Provider == "convoy" { // which leaves digest and encoding to the user
		if strings.Contains(v.Variant, "sha512") {
			s.Algorithm = HMACSHA512
		}
		if strings.Contains(v.Variant, "base64") {
			s.Signature.Encoding = Base64
		}
	}
	return s, ok
}

// secret is the vector's secret as it is written in a configuration.
func (v *vector) secret(s *Scheme) string {
	switch {
	case s.KeyURL != nil:
		topic, _ := BodyPath(v.Body, "TopicArn")
		return topic
	case v.KeyID != "":
		return v.KeyID + ":" + v.Secret
	default:
		return v.Secret
	}
}

func TestVectorsOfProvidersAgree(t *testing.T) {
	skipped := make(map[string]int)
	for _, vec := range readVectors(t) {
		s, ok := vec.preset()
		if !ok {
			skipped[vec.Provider+"/"+vec.Variant]++
			continue
		}
		t.Run(vec.ID, func(t *testing.T) { checkVector(t, &vec, s) })
	}
	for name, n := range skipped {
		t.Errorf("no preset for %d vectors of %s", n, name)
	}
}

func checkVector(t *testing.T, vec *vector, s *Scheme) {
	secrets := [][]byte{[]byte(vec.secret(s))}
	for _, pinned := range vec.Keys { // whose URL is not the provider's
		secrets = append(secrets, []byte(pinned))
	}
	v, err := s.Compile(secrets)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Verify(vec.request(), vec.now())
	if _, ok := errors.AsType[*Failure](err); err != nil && !ok {
		t.Fatalf("error %v is no failure", err)
	}
	if valid := err == nil; valid != (vec.Expect == "valid") {
		t.Fatalf("valid = %v (%v), expected %s: %s", valid, err, vec.Expect, vec.Why)
	}
	if err != nil {
		return
	}
	if vec.EventID != "" && got.EventID != vec.EventID {
		t.Errorf("event id = %q, expected %q", got.EventID, vec.EventID)
	}
	if vec.EventType != "" && got.Type != vec.EventType {
		t.Errorf("type = %q, expected %q", got.Type, vec.EventType)
	}
}
