// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// secretPrefixes begin the secrets that providers hand out.
var secretPrefixes = []string{
	"whsec_", "whsk_", "sk_", "rk_", "secret_", "shpss_", "shpat_", "xoxb-", "xoxp-", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "SG.",
	"AKIA", "eyJ", "-----BEGIN",
}

// leastRun is how many letters and digits in a row, both among them, are taken
// for a secret: nobody makes up a name like that.
const leastRun = 12

var (
	letters  = regexp.MustCompile(`[A-Za-z0-9]+`)
	hostPort = regexp.MustCompile(`^[A-Za-z0-9.-]+:[0-9]+$`)
	password = regexp.MustCompile(`://[^/@\s']+@`)
)

// looksSecret reports whether a word of the configuration is probably a secret.
// What stands in a placeholder is none.
func looksSecret(word string) bool {
	word = placeholder.ReplaceAllString(word, "")
	if hostPort.MatchString(word) || strings.Contains(word, "://") {
		return false
	}
	for _, part := range strings.FieldsFunc(word, func(r rune) bool { return strings.ContainsRune(`/*=:,;'"`, r) }) {
		if slices.ContainsFunc(secretPrefixes, func(prefix string) bool {
			return strings.HasPrefix(part, prefix) && len(part) >= len(prefix)+leastRun/2
		}) {
			return true
		}
	}
	return slices.ContainsFunc(letters.FindAllString(word, -1), func(r string) bool {
		return len(r) >= leastRun && strings.ContainsFunc(r, unicode.IsDigit) && strings.ContainsFunc(r, unicode.IsLetter)
	})
}

// shown is a word as an error may show it.
func shown(word string) string {
	if looksSecret(word) {
		return redacted
	}
	return word
}

// withoutMisplaced takes out of an error what stands in the directive and looks
// like a secret: it may be one that was typed in the wrong place, and errors are
// shown and logged.
func withoutMisplaced(err error, d *caddyfile.Dispenser) error {
	if err == nil {
		return nil
	}
	all := *d
	all.Reset()
	var words []string
	for all.Next() {
		if looksSecret(all.Val()) {
			words = append(words, all.Val())
		}
	}
	slices.SortFunc(words, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	was := err.Error()
	text := password.ReplaceAllString(was, "://"+redacted+"@")
	before := text
	for _, word := range words {
		text = strings.ReplaceAll(text, word, redacted)
	}
	if text != before {
		text += " (" + redacted + " looks like a secret, which stands behind the name of its scheme: verify stripe {env.STRIPE_WEBHOOK_SECRET})"
	}
	if text == was {
		return err
	}
	return errors.New(text)
}
