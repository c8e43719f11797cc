// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"net/http"
	"strings"
)

// Request is what a provider sent, as far as a signature can cover it.
type Request struct {
	// Method is the HTTP method as received.
	Method string
	// URL is the absolute public URL, as the provider called it.
	URL string
	// Header holds the fields as received, under canonical names.
	Header http.Header
	// Host is the host the provider called.
	Host string
	// Body is the raw body, before any decoding.
	Body []byte
	// Remote is the IP address of the sender, empty if it is not known. It proves
	// nothing: senders take turns by it where keys have to be fetched.
	Remote string
}

// header returns the only line of a canonical header name. lines tells how
// many there are; with other than one line the value is empty.
func (r *Request) header(name string) (value string, lines int) {
	values := r.Header[name]
	if len(values) == 1 {
		return values[0], 1
	}
	if len(values) == 0 && name == "Host" && r.Host != "" {
		return r.Host, 1
	}
	return "", len(values)
}

// uri returns the path and query of the URL, undecoded.
func (r *Request) uri() string {
	rest := r.URL
	if _, after, ok := strings.Cut(rest, "://"); ok {
		rest = after
		i := strings.IndexAny(rest, "/?#")
		if i < 0 {
			return "/"
		}
		rest = rest[i:]
	}
	rest, _, _ = strings.Cut(rest, "#")
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return rest
}

// rawQuery returns the query of the URL, undecoded and without its mark.
func (r *Request) rawQuery() string {
	url, _, _ := strings.Cut(r.URL, "#")
	_, query, _ := strings.Cut(url, "?")
	return query
}

// baseURL returns the URL without its query.
func (r *Request) baseURL() string {
	base, _, _ := strings.Cut(r.URL, "?")
	base, _, _ = strings.Cut(base, "#")
	return base
}
