// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// hopByHop are the headers that belong to one connection, or to the framing of
// one request on it. All names are canonical.
var hopByHop = []string{
	"Connection",
	"Content-Length",
	"Expect",
	"Http2-Settings",
	"Keep-Alive",
	"Te",
	"Trailer",
	"Transfer-Encoding",
	"Upgrade",
}

// endToEnd reports whether a header of that canonical name may go on to the
// upstream. forwarding says that the headers of a proxy in front are trusted.
func endToEnd(name string, forwarding bool) bool {
	if slices.Contains(hopByHop, name) || strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, "Relay-") {
		return false
	}
	return forwarding || name != "Forwarded" && !strings.HasPrefix(name, "X-Forwarded-")
}

// captureHeader copies the headers of a request that are kept with its message.
func captureHeader(in http.Header, forwarding bool, drop []string) http.Header {
	named := connectionNamed(in)
	out := in.Clone()
	for name, values := range in {
		if !endToEnd(textproto.CanonicalMIMEHeaderKey(name), forwarding) ||
			slices.Contains(named, name) || slices.Contains(drop, name) || !validField(name, values) {
			delete(out, name)
		}
	}
	return out
}

// connectionNamed lists the headers that the request says are for this
// connection only.
func connectionNamed(h http.Header) []string {
	var named []string
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			named = append(named, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	return named
}

// validField reports whether a header can be sent on without changing what comes
// after it.
func validField(name string, values []string) bool {
	if !httpguts.ValidHeaderFieldName(name) {
		return false
	}
	for _, value := range values {
		if !httpguts.ValidHeaderFieldValue(value) {
			return false
		}
	}
	return true
}
