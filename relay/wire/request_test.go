// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestRequestOnTheWire(t *testing.T) {
	r := NewRequest()
	if err := r.Start("POST", "/in?a=b", "app.test:80"); err != nil {
		t.Fatal(err)
	}
	for name, kept := range map[string]bool{
		"Host": false, "content-length": false, "TRANSFER-ENCODING": false, "Connection": false, "Trailer": false, "Upgrade": false,
		"X Y": false, "": false, "X:": false, "X\r\nY": false, "Äh": false,
	} {
		if r.Field(name, "1") != kept {
			t.Errorf("%q was taken", name)
		}
	}
	if r.Field("X-Bad", "good", "a\r\nB: c") || !r.Field("X-None") || !r.Field("Accept", " a ", "b") {
		t.Error("a header was judged wrongly")
	}
	r.Finish([]byte("{}"))
	const want = "POST /in?a=b HTTP/1.1\r\nHost: app.test:80\r\nAccept: a\r\nAccept: b\r\nContent-Length: 2\r\n\r\n{}"
	if string(r.bytes) != want {
		t.Errorf("%q", r.bytes)
	}
}

func TestRequestThatCanNotBeSentIsRefused(t *testing.T) {
	for _, tc := range [][3]string{
		{"", "/", "a.test"},
		{"PO ST", "/", "a.test"},
		{"POST\r\n", "/", "a.test"},
		{"CONNECT", "/", "a.test"},
		{"POST", "", "a.test"},
		{"POST", "*", "a.test"},
		{"POST", "/a b", "a.test"},
		{"POST", "/a\r\nX: y", "a.test"},
		{"POST", "http://a.test/", "a.test"},
		{"POST", "/ü", "a.test"},
		{"POST", "/", ""},
		{"POST", "/", "a b"},
		{"POST", "/", "a/b"},
		{"POST", "/", "[fe80::1%eth0]"},
		{"POST", "/", "ü.test"},
	} {
		if err := NewRequest().Start(tc[0], tc[1], tc[2]); err == nil {
			t.Errorf("%q is taken", tc)
		}
	}
}

// Whatever it is made of, what goes over the wire is one request with one body.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/in", "app.test", "X-A", "b", []byte("{}"))
	f.Add("GET", "/?a", "[::1]:80", "Content-Length", "5", []byte(nil))
	f.Add("PUT", "/%zz", "a,b", "Transfer-Encoding", "chunked", []byte("0\r\n\r\n"))
	f.Add("PATCH", "/ HTTP/1.1\r\n\r\n", "a\r\nb: c", "X\n", "\x00", []byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, method, target, host, name, value string, body []byte) {
		r := NewRequest()
		defer r.Release()
		if r.Start(method, target, host) != nil {
			return
		}
		taken := r.Field(name, value)
		r.Finish(body)
		in := bufio.NewReader(bytes.NewReader(r.bytes))
		got, err := http.ReadRequest(in)
		if err != nil {
			// net/http is stricter about targets and hosts than it is when it sends.
			if strings.Contains(err.Error(), "URL") || strings.Contains(err.Error(), "parse") || strings.Contains(err.Error(), "Host") {
				return
			}
			t.Fatalf("%q: %v", r.bytes, err)
		}
		read, err := io.ReadAll(got.Body)
		if err != nil || !bytes.Equal(read, body) || in.Buffered() != 0 {
			t.Errorf("%q: body %q, %v, %d bytes more", r.bytes, read, err, in.Buffered())
		}
		if got.Method != method || got.RequestURI != target {
			t.Errorf("%q: %s %s", r.bytes, got.Method, got.RequestURI)
		}
		want := []string{strings.Trim(value, " \t")}
		if kept := got.Header[http.CanonicalHeaderKey(name)]; taken && name != "Pragma" && !slices.Equal(kept, want) || len(got.Header) > 3 {
			t.Errorf("%q: headers %v", r.bytes, got.Header)
		}
	})
}
