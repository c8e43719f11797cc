// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// rawApp is an app that shows requests as they came over the wire, and answers
// them with what it is told to.
type rawApp struct {
	net.Listener
	got    chan []byte
	answer func(net.Conn) (again bool)
	ended  sync.WaitGroup
}

// ok is an answer.
const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// newRawApp starts an app. A nil answer is 200 without a body, which is right for
// any method.
func newRawApp(t testing.TB, answer func(net.Conn) (again bool)) *rawApp {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if answer == nil {
		answer = func(c net.Conn) bool {
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			return err == nil
		}
	}
	app := &rawApp{Listener: listener, got: make(chan []byte, 1000), answer: answer}
	app.ended.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			app.ended.Go(func() { app.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = listener.Close() })
	return app
}

func (a *rawApp) addr() string { return a.Addr().String() }

// serve answers the requests of one connection.
func (a *rawApp) serve(conn net.Conn) {
	defer conn.Close()
	var seen bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &seen))
	for again := true; again; {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		rest := in.Buffered() // of the next request
		a.got <- bytes.Clone(seen.Bytes()[:seen.Len()-rest])
		seen.Next(seen.Len() - rest)
		again = a.answer(conn)
	}
}

// pair is a forward twice: as it is, and with all attempts through Caddy's proxy.
type pair struct{ direct, chain *forward }

func pairOf(t testing.TB, leads string) pair {
	t.Helper()
	p := pair{forwardOf(t, leads), forwardOf(t, leads)}
	if p.direct.direct == nil {
		t.Fatalf("forward %s is not taken for a plain proxy", leads)
	}
	p.chain.direct.close()
	p.chain.direct = nil
	return p
}

// request is a request on the wire: its line, its headers in order, and its body.
type rawRequest struct {
	line   string
	header []string
	body   string
}

func parsed(t interface{ Fatalf(string, ...any) }, raw []byte) rawRequest {
	head, body, found := strings.Cut(string(raw), "\r\n\r\n")
	if !found {
		t.Fatalf("no end of the headers in %q", raw)
	}
	lines := strings.Split(head, "\r\n")
	slices.Sort(lines[1:])
	return rawRequest{lines[0], lines[1:], body}
}

// compare makes an attempt in both ways and compares what the upstream gets. Only
// net/http asks for compressed answers, since it can read them.
func (p pair) compare(t interface {
	Fatalf(string, ...any)
	Errorf(string, ...any)
}, app *rawApp, a relay.Attempt,
) {
	var sent [2]*rawRequest
	var results [2]relay.Result
	for i, f := range []*forward{p.direct, p.chain} {
		results[i] = f.Deliver(context.Background(), a)
		select {
		case raw := <-app.got:
			r := parsed(t, raw)
			sent[i] = &r
		default:
		}
	}
	if results[0].Outcome != results[1].Outcome || results[0].Status != results[1].Status {
		t.Errorf("directly %v, through the proxy %v", results[0], results[1])
	}
	if sent[0] == nil || sent[1] == nil {
		if sent[0] != sent[1] {
			t.Errorf("directly %v, through the proxy %v", sent[0], sent[1])
		}
		return
	}
	const asks = "Accept-Encoding: gzip"
	if i := slices.Index(sent[1].header, asks); i >= 0 && len(sent[0].header) < len(sent[1].header) {
		sent[1].header = slices.Delete(sent[1].header, i, i+1)
	}
	if sent[0].line != sent[1].line || sent[0].body != sent[1].body || !slices.Equal(sent[0].header, sent[1].header) {
		t.Errorf("directly:\n%s\n%s\nthrough the proxy:\n%s\n%s", sent[0].line, strings.Join(sent[0].header, "\n"), sent[1].line, strings.Join(sent[1].header, "\n"))
	}
}

// plainForwards are the forms in which a plain proxy can be written, with the
// address of the app as %s.
var plainForwards = []string{
	"%s",
	"http://%s",
	"tcp/%s",
	"%s/hook",
	"%s/hook?a=b&c",
	"%s/hook?",
	"%s/a%%2Fb/%%C3%%BC",
	"{\n\t\t\treverse_proxy %s\n\t\t}",
	"{\n\t\t\trewrite /internal\n\t\t\treverse_proxy %s\n\t\t}",
	"{\n\t\t\thandle {\n\t\t\t\treverse_proxy %s {\n\t\t\t\t\ttransport http {\n\t\t\t\t\t\tkeepalive_idle_conns_per_host 7\n\t\t\t\t\t}\n\t\t\t\t}\n\t\t\t}\n\t\t}",
	"{\n\t\t\troute {\n\t\t\t\trewrite /r\n\t\t\t\treverse_proxy %s\n\t\t\t}\n\t\t}",
}

func TestP7_UpstreamGetsTheSameBytesAsFromCaddysProxy(t *testing.T) {
	app := newRawApp(t, nil)
	for _, form := range plainForwards {
		p := pairOf(t, fmt.Sprintf(form, app.addr()))
		for name, change := range differences {
			t.Run(form+"/"+name, func(t *testing.T) {
				a := attempt()
				change(&a.Message.Request)
				p.compare(t, app, a)
			})
		}
	}
}

// differences are ways in which a stored request may be unusual.
var differences = map[string]func(*store.Request){
	"usual":          func(*store.Request) {},
	"no body":        func(r *store.Request) { r.Body = nil },
	"GET":            func(r *store.Request) { r.Method, r.Body = "GET", nil },
	"GET with body":  func(r *store.Request) { r.Method = "GET" },
	"HEAD":           func(r *store.Request) { r.Method, r.Body = "HEAD", nil },
	"PUT":            func(r *store.Request) { r.Method, r.Body = "PUT", nil },
	"DELETE":         func(r *store.Request) { r.Method, r.Body = "DELETE", nil },
	"odd method":     func(r *store.Request) { r.Method = "PROP-FIND" },
	"CONNECT":        func(r *store.Request) { r.Method, r.Body = "CONNECT", nil },
	"no method":      func(r *store.Request) { r.Method = "" },
	"invalid method": func(r *store.Request) { r.Method = "PO ST" },
	"largest whole":  func(r *store.Request) { r.Body = bytes.Repeat([]byte("x"), wholeRequest-1) },
	"larger":         func(r *store.Request) { r.Body = bytes.Repeat([]byte("x"), 3*wholeRequest) },
	"no query":       func(r *store.Request) { r.URI = "/in" },
	"empty query":    func(r *store.Request) { r.URI = "/in?" },
	"escaped path":   func(r *store.Request) { r.URI = "/a%2Fb%20c/%zz?%zz=ü" },
	"odd path":       func(r *store.Request) { r.URI = "/a%2Fb%20c/;x=1/|[]\"<>?q= a" },
	"two slashes":    func(r *store.Request) { r.URI = "//host.test/x" },
	"dots":           func(r *store.Request) { r.URI = "/a/../b/./c" },
	"absolute":       func(r *store.Request) { r.URI = "http://other.test/x?y" },
	"star":           func(r *store.Request) { r.URI, r.Method = "*", "OPTIONS" },
	"host with port": func(r *store.Request) { r.Host = "hooks.example.com:8443" },
	"host IPv6":      func(r *store.Request) { r.Host = "[2001:db8::1%eth0]:443" },
	"host IDN":       func(r *store.Request) { r.Host = "bücher.example" },
	"no host":        func(r *store.Request) { r.Host = "" },
	"invalid host":   func(r *store.Request) { r.Host = "a b/c" },
	"IPv6 peer":      func(r *store.Request) { r.RemoteAddr = "[fe80::1%eth0]:99" },
	"unix peer":      func(r *store.Request) { r.RemoteAddr = "@" },
	"peer unknown":   func(r *store.Request) { r.RemoteAddr = "" },
	"peer odd":       func(r *store.Request) { r.RemoteAddr = "a b:1" },
	"plain HTTP":     func(r *store.Request) { r.TLS = false },
	"trusted": func(r *store.Request) {
		r.TrustedProxy = true
		r.Header["X-Forwarded-For"] = []string{"203.0.113.1", "203.0.113.2, 203.0.113.3"}
		r.Header["X-Forwarded-Proto"] = []string{"http", "https"}
		r.Header["X-Forwarded-Host"] = []string{"a.test", "b.test"}
		r.Header["Forwarded"] = []string{"for=1"}
	},
	"trusted and empty": func(r *store.Request) {
		r.TrustedProxy, r.RemoteAddr = true, "@"
		r.Header["X-Forwarded-For"], r.Header["X-Forwarded-Proto"], r.Header["X-Forwarded-Host"] = []string{""}, []string{""}, []string{"a", ""}
	},
	"trusted and unknown": func(r *store.Request) {
		r.TrustedProxy, r.RemoteAddr = true, "x"
		r.Header["X-Forwarded-For"] = []string{"203.0.113.1"}
	},
	"not trusted": func(r *store.Request) {
		r.Header["X-Forwarded-For"], r.Header["Forwarded"] = []string{"203.0.113.1"}, []string{"for=1"}
	},
	"headers": func(r *store.Request) {
		r.Header = http.Header{
			"Accept": {"a", "b"}, "Cookie": {"a=b; c=d"}, "User-Agent": {"x/1", "y/2"}, "Via": {"1.0 a", "1.1 b"}, "Te": {"trailers"},
			"Trailer": {"X"}, "Early-Data": {"1"}, "Alt-Svc": {"h3"}, "Proxy-Connection": {"x"}, "Expect": {"100-continue"}, "Range": {"bytes=0-1"},
			"Accept-Encoding": {"br"}, "X-Empty": {""}, "X-Blank": {"  a\tb  "}, "X-None": {}, "X-Utf8": {"ü"}, "X-Bad": {"a\r\nB: c"},
			"Upgrade": {"h2c"}, "Connection": {"upgrade, X-Hop", "keep-alive"}, "X-Hop": {"1"}, "Host": {"other.test"}, "Content-Length": {"5"},
			"Transfer-Encoding": {"chunked"}, "Sec-Websocket-Key": {"k"}, "Idempotency-Key": {"theirs"}, "Incremental": {"?1"}, "Relay-Type": {"x"},
		}
	},
	"no user agent":    func(r *store.Request) { r.Header["User-Agent"] = []string{""} },
	"blank user agent": func(r *store.Request) { r.Header["User-Agent"] = []string{" "} },
	"no headers":       func(r *store.Request) { r.Header = nil },
}

func TestP7_UpstreamGetsTheSameBytesWhateverComes(t *testing.T) {
	app := newRawApp(t, nil)
	var pairs []pair
	for _, form := range plainForwards {
		pairs = append(pairs, pairOf(t, fmt.Sprintf(form, app.addr())))
	}
	names := []string{
		"Accept", "Accept-Encoding", "User-Agent", "Via", "Te", "Connection", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
		"Forwarded", "Range", "Alt-Svc", "Trailer", "Upgrade", "Expect", "Idempotency-Key", "Early-Data", "Host", "Keep-Alive", "Stripe-Signature",
	}
	text := rapid.OneOf(rapid.StringMatching(`[ -~]{0,12}`), rapid.String())
	header := rapid.MapOfN(
		rapid.OneOf(rapid.SampledFrom(names), rapid.Map(rapid.StringMatching("[A-Za-z0-9!#$%&'*+.^_|~-]{1,8}"), http.CanonicalHeaderKey)),
		rapid.SliceOfN(rapid.OneOf(text, rapid.SampledFrom([]string{"close, x-a", "gzip", "trailers", "upgrade"})), 0, 3), 0, 8)
	rapid.Check(t, func(t *rapid.T) {
		a := attempt()
		a.Message.Request = store.Request{
			Method:       rapid.OneOf(rapid.SampledFrom([]string{"POST", "GET", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"}), text).Draw(t, "method"),
			URI:          rapid.OneOf(rapid.StringMatching(`/[a-z/.;:@&=+$,%~!'()*-]{0,12}(\?[ -~]{0,8})?`), rapid.Map(text, func(s string) string { return "/" + s }), text).Draw(t, "uri"),
			Host:         rapid.OneOf(rapid.Just("hooks.example.com"), text).Draw(t, "host"),
			RemoteAddr:   rapid.OneOf(rapid.SampledFrom([]string{"192.0.2.1:1", "[2001:db8::1]:2", "@", ""}), text).Draw(t, "peer"),
			LocalAddr:    "192.0.2.2:443",
			ClientIP:     "198.51.100.7",
			TLS:          rapid.Bool().Draw(t, "tls"),
			TrustedProxy: rapid.Bool().Draw(t, "trusted"),
			Header:       header.Draw(t, "header"),
			Body:         rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "body"),
		}
		rapid.SampledFrom(pairs).Draw(t, "forward").compare(t, app, a)
	})
}

// rawAnswers are what an app may answer, well and badly.
var rawAnswers = map[string]struct {
	text  string
	again bool // the connection stays open
	hangs bool // nothing more comes, and the connection is not closed
}{
	"200":                   {ok, true, false},
	"200 without body":      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, false},
	"200 and more":          {ok + "HTTP/1.1 500 No\r\n\r\n", true, false},
	"200 and closed":        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false, false},
	"200 of HTTP/1.0":       {"HTTP/1.0 200 OK\r\n\r\nuntil the end", false, false},
	"200 until the end":     {"HTTP/1.1 200 OK\r\n\r\nuntil the end", false, false},
	"200 in chunks":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", true, false},
	"200 with trailers":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", true, false},
	"200 with a long body":  {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("0123456789", 10000), true, false},
	"200 after interims":    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok, true, false},
	"202":                   {"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", true, false},
	"204":                   {"HTTP/1.1 204 No Content\r\n\r\n", true, false},
	"204 with a length":     {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", true, false},
	"304":                   {"HTTP/1.1 304 Not Modified\r\nEtag: x\r\n\r\n", true, false},
	"301":                   {"HTTP/1.1 301 Moved\r\nLocation: https://elsewhere.test/?a\r\nContent-Length: 0\r\n\r\n", true, false},
	"410":                   {"HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\ngone", true, false},
	"429":                   {"HTTP/1.1 429 Slow Down\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n", true, false},
	"503":                   {"HTTP/1.1 503 Busy\r\nRetry-After: Fri, 02 Jan 2099 03:05:05 GMT\r\nContent-Length: 0\r\n\r\n", true, false},
	"599":                   {"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n", true, false},
	"no status":             {"HTTP/1.1 000 \r\nContent-Length: 2\r\n\r\nok", true, false},
	"low status":            {"HTTP/1.1 099 \r\nContent-Length: 2\r\n\r\nok", true, false},
	"HTTP/2":                {"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", true, false},
	"nothing":               {"", false, false},
	"half of the line":      {"HTTP/1.1 20", false, false},
	"half of the headers":   {"HTTP/1.1 200 OK\r\nContent-Le", false, false},
	"half of the body":      {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", false, false},
	"half of the chunks":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", false, false},
	"no last chunk":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false, false},
	"bad chunk":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", false, false},
	"bad length":            {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", false, false},
	"two lengths":           {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", false, false},
	"bad encoding":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab", false, false},
	"garbage":               {"SSH-2.0-OpenSSH_9.9\r\n\r\n", false, false},
	"headers without end":   {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 11000), false, false},
	"line without end":      {"HTTP/1.1 200 " + strings.Repeat("y", 11<<20), false, false},
	"refusal and half":      {"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf", false, false},
	"nothing, for ever":     {"", false, true},
	"half a line, for ever": {"HTTP/1.1 2", false, true},
	"half a body, for ever": {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", false, true},
	"interim, for ever":     {"HTTP/1.1 100 Continue\r\n\r\n", false, true},
}

func TestAnswersMeanTheSameAsThroughCaddysProxy(t *testing.T) {
	for name, tc := range rawAnswers {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			defer close(over)
			app := newRawApp(t, func(c net.Conn) bool {
				_, err := io.WriteString(c, tc.text)
				if tc.hangs {
					<-over
				}
				return err == nil && tc.again
			})
			p := pairOf(t, app.addr())
			for _, method := range []string{http.MethodPost, http.MethodHead} {
				a := attempt()
				a.Message.Request.Method = method
				direct, chain := deliverBriefly(t, p.direct, a, tc.hangs), deliverBriefly(t, p.chain, a, tc.hangs)
				if direct.Outcome != chain.Outcome || direct.Status != chain.Status || string(direct.Head) != string(chain.Head) ||
					direct.RetryAfter.Round(time.Minute) != chain.RetryAfter.Round(time.Minute) || (direct.Err == nil) != (chain.Err == nil) {
					t.Errorf("%s: directly %s %d %v %v %q, through the proxy %s %d %v %v %q", method,
						direct.Outcome, direct.Status, direct.RetryAfter, direct.Err, direct.Head,
						chain.Outcome, chain.Status, chain.RetryAfter, chain.Err, chain.Head)
				}
				if testing.Verbose() {
					t.Logf("%s: %s %v | %v", method, direct.Outcome, direct.Err, chain.Err)
				}
			}
		})
	}
}

// deliverBriefly makes an attempt that is not given much time if it can only hang.
func deliverBriefly(t *testing.T, f *forward, a relay.Attempt, hangs bool) relay.Result {
	timeout := 20 * time.Second
	if hangs {
		timeout = 30 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return f.Deliver(ctx, a)
}

// Neither Stop nor Cleanup of its configuration touch an attempt that is made
// directly; its connection ends with it.
func TestP12_DirectAttemptOutlivesItsConfiguration(t *testing.T) {
	begun, release, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	app := newRawApp(t, func(c net.Conn) bool {
		close(begun)
		<-release
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			close(closed)
		}
		return false
	})
	r := start(t, memoryOptions+":0 {\n\trelay /in "+app.addr()+"\n}\n")
	f := r.relay["in"].destinations[0].forward
	ended := make(chan relay.Result)
	go func() { ended <- f.Deliver(t.Context(), attempt()) }()
	<-begun
	r.stop()
	close(release)
	if result := <-ended; result.Outcome != store.Succeeded {
		t.Errorf("%s %v", result.Outcome, result.Err)
	}
	<-closed
}

// endedContext is one that has ended without having told anybody yet.
type endedContext struct {
	context.Context
	ended *atomic.Bool
}

func (c endedContext) Err() error {
	if c.ended.Load() {
		return context.DeadlineExceeded
	}
	return nil
}

// What the app has taken would be sent again.
func TestP3_AnswerThatIsWholeCountsThoughTheTimeIsOver(t *testing.T) {
	for status, want := range map[string]store.Outcome{"200 OK": store.Succeeded, "500 No": store.Refused} {
		var ended atomic.Bool
		app := newRawApp(t, func(c net.Conn) bool {
			ended.Store(true)
			_, err := io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
			return err == nil
		})
		f := pairOf(t, app.addr()).direct
		if result := f.Deliver(endedContext{t.Context(), &ended}, attempt()); result.Outcome != want {
			t.Errorf("%s: %s %v", status, result.Outcome, result.Err)
		}
	}
}

func TestForwardThatIsNotPlainRunsThroughItsHandlers(t *testing.T) {
	const plainOptions = "transport http {\n\t\t\t\t\tkeepalive_idle_conns_per_host 7\n\t\t\t\t}"
	for leads, want := range map[string]bool{
		"app:80": true,
		"{\n\t\t\treverse_proxy app:80 {\n\t\t\t\t" + plainOptions + "\n\t\t\t}\n\t\t}": true,
		"https://app":            false,
		"h2c://app:80":           false,
		"unix//run/app.sock":     false,
		"app:80 other:80":        false,
		"{env.APP}":              false,
		"app:80/{http.relay.id}": false,
		":80":                    false,
		"app:80-81":              false,
		"{\n\t\t\treverse_proxy app:80 {\n\t\t\t\theader_up X y\n\t\t\t}\n\t\t}":                                          false,
		"{\n\t\t\treverse_proxy app:80 {\n\t\t\t\tlb_retries 2\n\t\t\t}\n\t\t}":                                           false,
		"{\n\t\t\treverse_proxy app:80 {\n\t\t\t\thealth_uri /up\n\t\t\t}\n\t\t}":                                         false,
		"{\n\t\t\treverse_proxy app:80 {\n\t\t\t\tfail_duration 1s\n\t\t\t}\n\t\t}":                                       false,
		"{\n\t\t\treverse_proxy app:80 {\n\t\t\t\trequest_buffers 1KiB\n\t\t\t}\n\t\t}":                                   false,
		"{\n\t\t\treverse_proxy app:80 {\n\t\t\t\ttransport http {\n\t\t\t\t\tdial_timeout 1s\n\t\t\t\t}\n\t\t\t}\n\t\t}": false,
		"{\n\t\t\treverse_proxy app:80 {\n\t\t\t\thandle_response {\n\t\t\t\t\trespond 200\n\t\t\t\t}\n\t\t\t}\n\t\t}":    false,
		"{\n\t\t\treverse_proxy /x app:80\n\t\t}":                                                                         false,
		"{\n\t\t\trequest_header A b\n\t\t\treverse_proxy app:80\n\t\t}":                                                  false,
		"{\n\t\t\trewrite * ?a=b\n\t\t\treverse_proxy app:80\n\t\t}":                                                      false,
		"{\n\t\t\turi strip_prefix /in\n\t\t\treverse_proxy app:80\n\t\t}":                                                false,
		"{\n\t\t\thandle /x {\n\t\t\t\treverse_proxy app:80\n\t\t\t}\n\t\t}":                                              false,
		"{\n\t\t\trespond 200\n\t\t}":                                                                                     false,
	} {
		r, err := provision(t, memoryOptions+":0 {\n\trelay /in {\n\t\tforward "+leads+"\n\t}\n}\n")
		if err != nil {
			t.Errorf("%s: %v", leads, err)
			continue
		}
		if got := r.relay["in"].destinations[0].forward.direct != nil; got != want {
			t.Errorf("%s: direct is %t", leads, got)
		}
	}
}

// Whoever looks at what Caddy's proxy says must find it saying something.
func TestForwardIsNotDirectWhereCaddysProxyLogsItsWork(t *testing.T) {
	cfg := adapt(t, memoryOptions+":0 {\n\trelay /in app:80\n}\n")
	log := fmt.Sprintf(`{"logs":{"proxy":{"level":"DEBUG","include":["http.handlers.reverse_proxy"],"writer":{"output":"file","filename":%q}}}}`, filepath.Join(t.TempDir(), "log"))
	if err := json.Unmarshal([]byte(log), &cfg.Logging); err != nil {
		t.Fatal(err)
	}
	r, err := provisionConfig(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.relay["in"].destinations[0].forward.direct != nil {
		t.Error("it is made directly")
	}
}

func TestForwardIsNotDirectWhereCaddyTracesHandlers(t *testing.T) {
	r, err := provision(t, strings.Replace(memoryOptions, "{\n", "{\n\tservers {\n\t\ttrace\n\t}\n", 1)+":0 {\n\tlog\n\trelay /in app:80\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	if r.relay["in"].destinations[0].forward.direct != nil {
		t.Error("it is made directly")
	}
}

func TestRequestThatMayNotFitItsConnectionIsNotMadeDirectly(t *testing.T) {
	app := newRawApp(t, func(net.Conn) bool { return false })
	for size, want := range map[int]bool{60 << 10: true, 64 << 10: false} {
		a := attempt()
		a.Message.Request.Header = http.Header{"X-Large": {strings.Repeat("x", size)}}
		if _, made := newDirect(&plainProxy{address: app.addr()}).deliver(t.Context(), a, nil); made != want {
			t.Errorf("with a header of %d bytes: %t", size, made)
		}
	}
}

// Caddy's proxy, which knows of nobody to switch protocols with, answers nothing.
func TestUpstreamThatSwitchesProtocolsGivesNoAnswer(t *testing.T) {
	app := newRawApp(t, func(c net.Conn) bool {
		_, err := io.WriteString(c, "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
		return err == nil
	})
	p := pairOf(t, app.addr())
	if result := p.direct.Deliver(t.Context(), attempt()); result.Outcome != store.Broken || !strings.Contains(result.Err.Error(), "it switched protocols") {
		t.Errorf("directly %s %v", result.Outcome, result.Err)
	}
	if result := p.chain.Deliver(t.Context(), attempt()); result.Outcome != store.Unhandled {
		t.Errorf("through the proxy %s %v", result.Outcome, result.Err)
	}
}

func TestAttemptThatIsCanceledEndsInBothWays(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	app := newRawApp(t, func(net.Conn) bool {
		<-over
		return false
	})
	p := pairOf(t, app.addr())
	for name, f := range map[string]*forward{"directly": p.direct, "through the proxy": p.chain} {
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan relay.Result)
		go func() { ended <- f.Deliver(ctx, attempt()) }()
		<-app.got
		why := errors.New("the relay is stopped")
		cancel(why)
		if result := <-ended; result.Outcome != store.Aborted || !errors.Is(result.Err, why) {
			t.Errorf("%s: %s %v", name, result.Outcome, result.Err)
		}
	}
}
