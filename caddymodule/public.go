// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// publicURL resolves and checks what stands before the URI of every request in the
// URL that its sender called. The result has no slash at its end.
func publicURL(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	resolved, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return "", fmt.Errorf("public_url: %w", err)
	}
	parsed, err := url.Parse(resolved)
	switch {
	case err != nil:
		return "", fmt.Errorf("public_url: '%s' is no URL", resolved)
	case parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Host == "":
		return "", fmt.Errorf("public_url: '%s' must begin with https:// and a host, as in https://hooks.example.com", resolved)
	case parsed.User != nil || strings.ContainsAny(resolved, "?#"):
		return "", fmt.Errorf("public_url: '%s' may have a path behind its host, but no query, fragment or user", resolved)
	}
	return strings.TrimRight(resolved, "/"), nil
}

// hostOf returns the host in an address that publicURL has checked.
func hostOf(public string) string {
	_, rest, _ := strings.Cut(public, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}
