// SPDX-License-Identifier: Apache-2.0

package caddymodule

import "testing"

const (
	noCatchAll  = "site has relays but no catch-all"
	unreachable = "no webhook can reach it"
	walkAround  = "reaches it unverified"
)

func TestSitesAreLookedAtWhenTheyStart(t *testing.T) {
	verified := "relay /in app:1 {\n\t\tverify stripe " + stripeSecret + "\n\t}\n"
	starred := "relay /in* app:1 {\n\t\tverify stripe " + stripeSecret + "\n\t}\n"
	passing := "relay /in* {\n\t\tverify stripe " + stripeSecret + "\n\t\tpass\n\t}\n"
	for name, tc := range map[string]struct {
		site string
		want []string
	}{
		"falls through":                     {"\t" + verified, []string{noCatchAll}},
		"falls through behind middleware":   {"\tencode gzip\n\theader X y\n\t" + verified, []string{noCatchAll}},
		"ends in respond":                   {"\t" + verified + "\trespond 404\n", nil},
		"ends in a path only":               {"\t" + verified + "\trespond /x 404\n", []string{noCatchAll}},
		"ends in handle":                    {"\t" + verified + "\thandle {\n\t\trespond 404\n\t}\n", nil},
		"is a relay as a whole":             {"\trelay app:1\n", nil},
		"ends in the same app":              {"\t" + verified + "\treverse_proxy app:1\n", []string{walkAround}},
		"ends in the same app, in handle":   {"\t" + verified + "\thandle {\n\t\treverse_proxy app:1\n\t}\n", []string{walkAround}},
		"ends in the same app, with star":   {"\t" + starred + "\treverse_proxy app:1\n", nil},
		"ends in another app":               {"\t" + verified + "\treverse_proxy other:1\n", nil},
		"relay verifies nothing":            {"\trelay /in app:1\n\treverse_proxy app:1\n", nil},
		"redirects everything":              {"\tredir https://elsewhere.test{uri}\n\t" + verified, []string{unreachable, `before="redir"`}},
		"aborts everything first":           {"\troute {\n\t\tabort\n\t\t" + verified + "\t}\n", []string{unreachable, `before="abort"`}},
		"challenge in route":                {"\troute {\n\t\t@q query challenge=*\n\t\trespond @q ok\n\t\t" + verified + "\t\trespond 404\n\t}\n", nil},
		"relay behind a relay that has all": {"\troute {\n\t\trelay app:1 {\n\t\t\tname all\n\t\t}\n\t\t" + verified + "\t}\n", []string{unreachable, `before="relay"`}},
		"passes to nobody":                  {"\t" + passing + "\tencode gzip\n", []string{noCatchAll}},
		"passes to an app":                  {"\t" + passing + "\treverse_proxy app:1\n", nil},
		"passes one path to an app":         {"\trelay /in {\n\t\tverify stripe " + stripeSecret + "\n\t\tpass\n\t}\n\treverse_proxy app:1\n", []string{walkAround}},
		"relay behind one that passes all":  {"\troute {\n\t\trelay {\n\t\t\tname all\n\t\t\tdedupe body\n\t\t\tpass\n\t\t}\n\t\t" + verified + "\t\trespond 404\n\t}\n", nil},
		"has no relay":                      {"\treverse_proxy app:1\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for host, block := range map[string]string{"hooks.test": "http://hooks.test {\n", "": ":0 {\n"} {
				start(t, memoryOptions+block+tc.site+"}\n").stop()
				for _, text := range []string{noCatchAll, unreachable, walkAround} {
					want := false
					for _, w := range tc.want {
						want = want || w == text
					}
					if got := logged(text); got != want {
						t.Errorf("%q in the log: %t, want %t", text, got, want)
					}
				}
				for _, text := range tc.want {
					if !logged(text) {
						t.Errorf("%q is not in the log", text)
					}
				}
				if host != "" && len(tc.want) > 0 && !logged(`site="hooks.test"`) {
					t.Error("the log does not name the site")
				}
			}
		})
	}
}
