// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestNameComesFromTheOnlyPathOfTheMatcher(t *testing.T) {
	for _, tc := range []struct {
		paths []string
		want  string
	}{
		{nil, "default"},
		{[]string{"/stripe"}, "stripe"},
		{[]string{"/webhooks/stripe*"}, "webhooks/stripe"},
		{[]string{"/webhooks/stripe/*"}, "webhooks/stripe"},
		{[]string{"/"}, "default"},
		{[]string{"*"}, "default"},
		{[]string{"/a", "/b"}, "default"},
	} {
		matcher := caddy.ModuleMap{}
		if tc.paths != nil {
			matcher["path"], _ = json.Marshal(tc.paths)
		}
		if got := nameFromMatcher(matcher); got != tc.want {
			t.Errorf("nameFromMatcher(%v) = %q, want %q", tc.paths, got, tc.want)
		}
	}
}

func TestNamesThatCouldBreakAnIDAreRefused(t *testing.T) {
	for _, name := range []string{"", "a:b", "a\nb", "a\x00", " a", "a ", "\xff", strings.Repeat("a", 129)} {
		if err := checkName(name); err == nil {
			t.Errorf("checkName(%q) = nil", name)
		}
	}
	for _, name := range []string{"stripe", "webhooks/stripe", "Zahlung-€", strings.Repeat("a", 128)} {
		if err := checkName(name); err != nil {
			t.Errorf("checkName(%q) = %v", name, err)
		}
	}
}
