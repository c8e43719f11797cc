// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

// TestNoRequestAllocatesBeyondItsSize sends what costs parsers most.
func TestNoRequestAllocatesBeyondItsSize(t *testing.T) {
	const size = 256 << 10
	for kind, unit := range map[string]string{
		"ampersands": "&", "parameters": "a&b&", "names": "aa=&ab=&", "escapes": "%41", "brackets": "[", "objects": `{"a":`,
		"items": `{"NotificationRequestItem":{}},`, "bytes": "\xff", "commas": ",",
	} {
		body := []byte(strings.Repeat(unit, size/len(unit)))
		for _, prefix := range []string{"", `{"notificationItems":[`, `{"value":[`, "bt_payload=", "sign=a&"} {
			full := append([]byte(prefix), body...)
			for _, v := range allVerifiers(t) {
				if p := v.proofs[0]; p.form == nil && p.Signature.Header != "" && v.scheme.Name != "stripe" {
					continue // hashes the body and no more
				}
				r := post(string(full))
				for _, p := range v.proofs {
					for _, name := range p.collector.headers[:min(1, len(p.collector.headers))] {
						r.Header[name] = []string{"t=1750000000,v1=00"}
					}
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if _, err := v.Verify(r, noon); err == nil {
					t.Errorf("%s accepts %s", v.scheme.Name, kind)
				}
				runtime.ReadMemStats(&after)
				if used := after.TotalAlloc - before.TotalAlloc; used > 8*size {
					t.Errorf("%s takes %d KiB for %s after %q", v.scheme.Name, used>>10, kind, prefix)
				}
			}
		}
	}
}

func TestEmptyRequestsAreRefused(t *testing.T) {
	for _, v := range allVerifiers(t) {
		for _, r := range []*Request{{}, {Method: "GET"}, {Method: "POST", URL: "/", Body: []byte("{}")}, {Method: "POST", URL: "://", Body: []byte("null")}} {
			_, err := v.Verify(r, noon)
			if f := reasonOf(t, err); f.Status() != 400 && f.Status() != 401 {
				t.Errorf("%s: %v", v.scheme.Name, err)
			}
			if _, err := v.Sign(r, "", noon); err != nil && !errors.Is(err, ErrCannotSign) {
				t.Errorf("%s: %v", v.scheme.Name, err)
			}
			if a, _ := v.Handshake(r, noon); a != nil {
				t.Errorf("%s takes an empty request for a handshake", v.scheme.Name)
			}
		}
	}
}
