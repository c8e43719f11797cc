// SPDX-License-Identifier: Apache-2.0

package caddymodule

import "testing"

func TestUpstreamIsDividedIntoAddressAndPath(t *testing.T) {
	for upstream, want := range map[string][2]string{
		"localhost:3000":                    {"localhost:3000", ""},
		"localhost:3000/":                   {"localhost:3000", ""},
		"localhost:3000/webhooks/stripe":    {"localhost:3000", "/webhooks/stripe"},
		"http://localhost:3000/a?b=c":       {"http://localhost:3000", "/a?b=c"},
		"https://app.example.com":           {"https://app.example.com", ""},
		"https://app.example.com/":          {"https://app.example.com", ""},
		"app/hook":                          {"app", "/hook"},
		"[::1]:3000/x":                      {"[::1]:3000", "/x"},
		"unix//run/app.sock":                {"unix//run/app.sock", ""},
		"unix+h2c//run/app.sock":            {"unix+h2c//run/app.sock", ""},
		"tcp/localhost:80":                  {"tcp/localhost:80", ""},
		"{env.APP}":                         {"{env.APP}", ""},
		"{env.APP}/hook":                    {"{env.APP}", "/hook"},
		"{file./etc/app}:80/hook":           {"{file./etc/app}:80", "/hook"},
		"{http.request.header.A/B}.test:80": {"{http.request.header.A/B}.test:80", ""},
	} {
		address, uri := splitUpstream(upstream)
		if address != want[0] || uri != want[1] {
			t.Errorf("splitUpstream(%q) = %q, %q", upstream, address, uri)
		}
	}
}
