// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

const identitySecret = "a secret that is long enough"

// signedBy signs a request as a provider does.
func signedBy(t *testing.T, provider, body string, fields ...string) *http.Request {
	t.Helper()
	s, ok := scheme.Preset(provider)
	if !ok {
		t.Fatalf("no preset %s", provider)
	}
	v, err := s.Compile([][]byte{[]byte(identitySecret)})
	if err != nil {
		t.Fatal(err)
	}
	r := post("/in", body)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	signature, err := v.Sign(&scheme.Request{Method: r.Method, Header: r.Header, Body: []byte(body)}, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, signature)
	return r
}

// Providers share one id among events that are not the same, and repeat one that
// is: GitHub among the hooks of one event (github/docs#32822), Shopify among the
// topics of one action (Shopify/shopify-app-js#3129).
func TestP5_SharedIdsSwallowNoEvent(t *testing.T) {
	for _, tc := range []struct {
		name, provider string
		requests       []*http.Request
		delivered      int
		replayed       bool
	}{
		{"two hooks of one event at GitHub", "github", []*http.Request{
			signedBy(t, "github", `{"hook":1}`, "X-GitHub-Hook-ID", "1", "X-GitHub-Delivery", "guid", "X-GitHub-Event", "push"),
			signedBy(t, "github", `{"hook":2}`, "X-GitHub-Hook-ID", "2", "X-GitHub-Delivery", "guid", "X-GitHub-Event", "push"),
		}, 2, false},
		{"a redelivery at GitHub", "github", []*http.Request{
			signedBy(t, "github", `{"hook":1}`, "X-GitHub-Hook-ID", "1", "X-GitHub-Delivery", "guid", "X-GitHub-Event", "push"),
			signedBy(t, "github", `{"hook":1}`, "X-GitHub-Hook-ID", "1", "X-GitHub-Delivery", "guid", "X-GitHub-Event", "push"),
		}, 2, true},
		{"two topics of one action at Shopify", "shopify", []*http.Request{
			signedBy(t, "shopify", `{"id":1}`, "X-Shopify-Shop-Domain", "a.test", "X-Shopify-Event-Id", "one", "X-Shopify-Topic", "orders/create"),
			signedBy(t, "shopify", `{"id":1}`, "X-Shopify-Shop-Domain", "a.test", "X-Shopify-Event-Id", "one", "X-Shopify-Topic", "orders/paid"),
		}, 2, false},
		{"a retry of Shopify's", "shopify", []*http.Request{
			signedBy(t, "shopify", `{"id":1}`, "X-Shopify-Shop-Domain", "a.test", "X-Shopify-Event-Id", "one", "X-Shopify-Topic", "orders/create"),
			signedBy(t, "shopify", `{"id":1}`, "X-Shopify-Shop-Domain", "a.test", "X-Shopify-Event-Id", "one", "X-Shopify-Topic", "orders/create"),
		}, 1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			app := newUpstream(t, nil)
			r := start(t, "{\n\trelay {\n\t\tstore memory\n\t}\n}\n:0 {\n\trelay /in "+app.addr()+" {\n\t\tverify "+tc.provider+" \""+identitySecret+"\"\n\t}\n}\n")
			h := r.relay["in"]
			delivered := func() uint64 {
				books, err := h.engine.Books(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return books["in:default"].Delivered
			}
			var last http.Header
			for i, request := range tc.requests {
				if w := serve(t, h, request); w.Code != http.StatusOK {
					t.Fatalf("request %d is answered %d", i+1, w.Code)
				}
				if i < tc.delivered {
					last = (<-app.got).request.Header
					eventually(t, "the delivery is recorded", func() bool { return delivered() == uint64(i+1) })
				}
			}
			if n := delivered(); n != uint64(tc.delivered) {
				t.Errorf("%d deliveries, want %d", n, tc.delivered)
			}
			if replayed := last.Get("Relay-Replay") == "1"; replayed != tc.replayed {
				t.Errorf("Relay-Replay is %q", last.Get("Relay-Replay"))
			}
		})
	}
}
