// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// hopByHop reports whether a header of that canonical name belongs to one
// connection, or to the way in which one request came over it. Incremental asks
// not to wait for the whole of a body, which a message that is kept is past.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Content-Length", "Expect", "Http2-Settings", "Incremental", "Keep-Alive",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// ownPrefix begins the headers that only we set.
const ownPrefix = "Relay-"

// endToEnd reports whether a header of that canonical name may go on to the
// upstream. forwarding says that the headers of a proxy in front are trusted.
func endToEnd(name string, forwarding bool) bool {
	if hopByHop(name) || strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, ownPrefix) {
		return false
	}
	return forwarding || name != "Forwarded" && !strings.HasPrefix(name, "X-Forwarded-")
}

// fieldFilter tells which headers of a request may go on.
type fieldFilter struct {
	forwarding  bool // those of a proxy in front
	named, drop []string
}

// passes reports whether a header may go on, if it can be sent at all.
func (f *fieldFilter) passes(name string) bool {
	return endToEnd(textproto.CanonicalMIMEHeaderKey(name), f.forwarding) && !slices.Contains(f.named, name) && !slices.Contains(f.drop, name)
}

// captureHeader copies the headers of a request that are kept with its message,
// with room for more of them.
func captureHeader(in http.Header, forwarding bool, drop []string, room int) http.Header {
	filter := fieldFilter{forwarding, connectionNamed(in), drop}
	out := make(http.Header, len(in)+room)
	all := make([]string, 0, len(in)) // what the values of all headers share, but of those that came in many lines
	for name, values := range in {
		if !filter.passes(name) || !validField(name, values) {
			continue
		}
		n := len(all)
		all = append(all, values...)
		out[name] = all[n:len(all):len(all)]
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
