// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"net/http"
	"strings"

	"github.com/PagerDuty/go-pagerduty/webhookv3"
	"github.com/buildkite/go-buildkite/v4"
	"github.com/google/go-github/v84/github"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

func codeCounterparts() []*counterpart {
	return []*counterpart{
		{
			library: "go-github", preset: "github", verify: verifyGitHub, vectors: []string{"github"},
			secret: shared("It's a Secret to Everybody"), other: shared("It's a secret to everybody"),
		},
		{
			library: "go-github", preset: "github_sha1", verify: verifyGitHub, vectors: []string{"github/legacy-sha1"},
			secret: shared("It's a Secret to Everybody"), other: shared("It's a secret to everybody"),
		},
		{
			library: "go-pagerduty", preset: "pagerduty", verify: verifyPagerDuty, vectors: []string{"pagerduty"},
			secret: shared("lDQHScfUeXUKaQRN"), other: shared("lDQHScfUeXUKaQRM"),
		},
		{
			library: "go-buildkite", preset: "buildkite", verify: verifyBuildkite, vectors: []string{"buildkite"},
			secret: shared("29b1ff5779c76bd48ba6705eb99ff970"), other: shared("29b1ff5779c76bd48ba6705eb99ff971"),
			differences: []difference{moreBuildkiteFields},
		},
		{
			library: "go-buildkite", preset: "buildkite_token", verify: verifyBuildkite, vectors: []string{"buildkite/token"},
			secret: shared("29b1ff5779c76bd48ba6705eb99ff970"), other: shared("29b1ff5779c76bd48ba6705eb99ff971"), bodyUnsigned: true,
		},
	}
}

// verifyGitHub supplies a content type where a vector has none: the library wants one, the signature does not cover it.
func verifyGitHub(secret string, r *http.Request, _ []byte) error {
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	_, err := github.ValidatePayload(r, []byte(secret))
	return err
}

func verifyPagerDuty(secret string, r *http.Request, _ []byte) error {
	return webhookv3.VerifySignature(r, secret)
}

func verifyBuildkite(secret string, r *http.Request, _ []byte) error {
	_, err := buildkite.ValidatePayload(r, []byte(secret))
	return err
}

// moreBuildkiteFields: as with Stripe and Paddle there may be several signatures, and fields of unknown names, so that a
// provider can add some. Buildkite's library takes the second of exactly two elements, whatever their names.
var moreBuildkiteFields = difference{
	name: "several signatures, or unknown fields, in X-Buildkite-Signature",
	plain: func(r *scheme.Request) []*scheme.Request {
		return oneByOne(r, "X-Buildkite-Signature", ",", "timestamp", "signature")
	},
}

// oneByOne is the request with one field of a name and no others but the time, for each field of that name.
func oneByOne(r *scheme.Request, header, separator, time, name string) []*scheme.Request {
	timed := withFields(r, header, separator, func(field, _ string) bool { return field == time })
	var all []*scheme.Request
	for element := range strings.SplitSeq(r.Header.Get(header), separator) {
		if !strings.HasPrefix(element, name+"=") {
			continue
		}
		one := clone(timed)
		one.Header.Set(header, one.Header.Get(header)+separator+element)
		all = append(all, one)
	}
	return all
}
