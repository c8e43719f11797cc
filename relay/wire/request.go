// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// Request is a request as it goes over the wire. It is composed in order: Start,
// any number of Field, Finish.
type Request struct {
	bytes []byte
	// model tells net/http's parser the method, which says whether an answer has a
	// body; nil means GET.
	model  *http.Request
	method string
}

// maxKept is the largest buffer that is kept for another request.
const maxKept = 64 << 10

var requests = sync.Pool{New: func() any { return &Request{bytes: make([]byte, 0, 4<<10)} }}

// ofHead is the model of all requests with the method HEAD.
var ofHead = &http.Request{Method: http.MethodHead}

// NewRequest returns an empty request. It is given back with Release.
func NewRequest() *Request { return requests.Get().(*Request) }

// Release gives a request back that is not used any more.
func (r *Request) Release() {
	if cap(r.bytes) <= maxKept {
		requests.Put(r)
	}
}

// Size returns how long the request is on the wire so far, in bytes.
func (r *Request) Size() int { return len(r.bytes) }

// Start begins a request. target is the path, which begins with a slash, and the
// query, both escaped. The error says what of it no request can hold; what net/http
// would correct is such, too.
func (r *Request) Start(method, target, host string) error {
	switch {
	case method == http.MethodConnect || !httpguts.ValidHeaderFieldName(method):
		return errors.New("method is no token, or CONNECT")
	case !strings.HasPrefix(target, "/") || strings.ContainsFunc(target, unprintable):
		return errors.New("target is no escaped path")
	case host == "" || strings.ContainsRune(host, '%') || strings.ContainsFunc(host, unprintable) || !httpguts.ValidHostHeader(host):
		return errors.New("host can not be sent")
	}
	r.method, r.model = method, nil
	if method == http.MethodHead {
		r.model = ofHead
	}
	b := append(r.bytes[:0], method...)
	b = append(b, ' ')
	b = append(b, target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	r.bytes = append(b, "\r\n"...)
	return nil
}

// unprintable reports whether a character is none that stands in a request line
// or a host name by itself.
func unprintable(c rune) bool { return c <= ' ' || c >= 0x7f }

// Field adds a line for each value of a header. It leaves the header out and
// returns false where no line can hold its name or one of its values, and where it
// is one that says where a request ends, or which connection it is for.
func (r *Request) Field(name string, values ...string) bool {
	if !httpguts.ValidHeaderFieldName(name) || framing(name) {
		return false
	}
	for _, value := range values {
		if !httpguts.ValidHeaderFieldValue(value) {
			return false
		}
	}
	b := r.bytes
	for _, value := range values {
		b = append(b, name...)
		b = append(b, ": "...)
		b = append(b, strings.Trim(value, " \t")...)
		b = append(b, "\r\n"...)
	}
	r.bytes = b
	return true
}

// framing reports whether a header is not for others to set.
func framing(name string) bool {
	switch len(name) {
	case len("Host"):
		return strings.EqualFold(name, "Host")
	case len("Trailer"):
		return strings.EqualFold(name, "Trailer") || strings.EqualFold(name, "Upgrade")
	case len("Connection"):
		return strings.EqualFold(name, "Connection")
	case len("Content-Length"):
		return strings.EqualFold(name, "Content-Length")
	case len("Transfer-Encoding"):
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// Finish ends the headers and adds the body.
func (r *Request) Finish(body []byte) {
	b := r.bytes
	if len(body) > 0 || expectsLength(r.method) {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	r.bytes = append(b, body...)
}

// expectsLength reports whether a request of that method says that its body is
// empty, since many servers want to be told.
func expectsLength(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}
