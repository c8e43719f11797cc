// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// chained are forwards that run through Caddy's handlers to an upstream.
var chained = map[string]string{
	"own options":    "{\n\t\treverse_proxy %s {\n\t\t\ttransport http {\n\t\t\t\tdial_timeout 2s\n\t\t\t}\n\t\t}\n\t}",
	"in a subroute":  "{\n\t\thandle /in* {\n\t\t\treverse_proxy %s {\n\t\t\t\ttransport http {\n\t\t\t\t\tdial_timeout 2s\n\t\t\t\t}\n\t\t\t}\n\t\t}\n\t}",
	"no options":     "{\n\t\theader X-Any 1\n\t\treverse_proxy %s\n\t}",
	"two upstreams":  "%[1]s %[1]s",
	"health checked": "{\n\t\treverse_proxy %s {\n\t\t\thealth_uri /health\n\t\t\thealth_interval 1h\n\t\t\ttransport http {\n\t\t\t\tdial_timeout 2s\n\t\t\t}\n\t\t}\n\t}",
}

// The configuration of an attempt is stopped and cleaned up at the worst moment:
// when Go has put its connection among the idle ones, and not handed on the answer
// yet. The connection ends all the same.
func TestP12_AttemptThroughHandlersOutlivesItsConfiguration(t *testing.T) {
	for name, leads := range chained {
		t.Run(name, func(t *testing.T) {
			app := newRawApp(t, func(c net.Conn) bool {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				return true
			})
			r := start(t, memoryOptions+":0 {\n\trelay /in {\n\t\tforward "+fmt.Sprintf(leads, app.addr())+"\n\t}\n}\n")
			f := r.relay["in"].destinations[0].forward
			if f.direct != nil {
				t.Fatal("it is made directly")
			}
			if strings.Contains(leads, "health_uri") {
				<-app.got // or the check would take the connection just when it is cut off
			}
			var stopped bool
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{PutIdleConn: func(error) {
				r.stop()
				stopped = true
			}})
			result := f.Deliver(ctx, attempt())
			if result.Outcome != store.Succeeded {
				t.Fatalf("%s %v", result.Outcome, result.Err)
			}
			if !stopped {
				t.Error("the connection was not kept")
			}
			if name == "no options" {
				return // Caddy leaves such connections to their idle timeout
			}
			_ = app.Close()
			app.ended.Wait()
		})
	}
}

// Whichever of the requests under way is the last one closes the connections.
func TestAReplacedProxyKeepsNoConnectionOnceItsRequestsHaveAnswers(t *testing.T) {
	app := newRawApp(t, nil)
	for range 1000 {
		transport := &lastingTransport{HTTPTransport: reverseproxy.HTTPTransport{Transport: new(http.Transport)}}
		var requests sync.WaitGroup
		for range 4 {
			requests.Go(func() {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+app.addr(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				answer, err := transport.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				_ = answer.Body.Close()
			})
		}
		<-app.got // one is under way, or was
		if err := transport.Cleanup(); err != nil {
			t.Error(err)
		}
		requests.Wait()
		for range 3 {
			<-app.got
		}
	}
	_ = app.Close()
	app.ended.Wait()
}

// The connections of HTTP/3 are closed with what goes on over them, so not before the
// bodies of the answers are. Where Caddy's transport is not provisioned it speaks HTTP/1
// all the same, by which the idle connection of another request tells.
func TestAReplacedProxyKeepsAnAnswerThatIsStillComing(t *testing.T) {
	app := newRawApp(t, func(c net.Conn) bool {
		_, _ = io.WriteString(c, ok)
		return true
	})
	transport := &lastingTransport{HTTPTransport: reverseproxy.HTTPTransport{Transport: new(http.Transport), Versions: []string{"3"}}}
	ask := func(trace *httptrace.ClientTrace) *http.Response {
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, "http://"+app.addr(), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	idle := make(chan struct{})
	one, other := ask(new(httptrace.ClientTrace)), ask(&httptrace.ClientTrace{PutIdleConn: func(error) { close(idle) }})
	if _, err := io.ReadAll(other.Body); err != nil {
		t.Error(err)
	}
	<-idle
	_ = other.Body.Close()
	if err := transport.Cleanup(); err != nil {
		t.Error(err)
	}
	reused := false
	third := ask(&httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }})
	if !reused {
		t.Error("a connection was closed while an answer was still coming")
	}
	for _, answer := range []*http.Response{one, third} {
		if _, err := io.ReadAll(answer.Body); err != nil {
			t.Error(err)
		}
		_ = answer.Body.Close()
	}
	_ = app.Close()
	app.ended.Wait()
}
