// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"io"
	"net"
	"net/http/httptrace"
	"strings"
	"testing"

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
