// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// siteShape is a way in which people write a relay into a site. In its text RELAY stands for the relay and APP for the
// app's address.
type siteShape struct {
	name string
	text string
	// open says that what is not the relay's reaches the app unverified, as the site says.
	open bool
}

var siteShapes = []siteShape{
	{name: "beside handle with a proxy", open: true, text: `
	RELAY
	handle {
		reverse_proxy APP
	}`},
	{name: "beside respond 404", text: `
	RELAY
	respond 404`},
	{name: "beside a proxy", open: true, text: `
	reverse_proxy APP
	RELAY`},
	{name: "in route after a challenge", text: `
	route {
		@challenge {
			method GET
			query hub.challenge=*
		}
		respond @challenge {query.hub.challenge} 200
		RELAY
		respond 404
	}`},
	{name: "with handle_errors", text: `
	RELAY
	respond 404
	handle_errors {
		respond "sorry" 200
	}`},
}

// sites serves one site of each shape.
func sites(t testing.TB, u *upstream) (text string, addrs []string) {
	t.Helper()
	var b strings.Builder
	for i, shape := range siteShapes {
		addr := freeAddress(t)
		addrs = append(addrs, addr)
		relay := fmt.Sprintf("relay /stripe %s {\n\t\tname site%d\n\t\tverify stripe %s\n\t\tmax_size 64KiB\n\t}", u.addr, i, secretA)
		b.WriteString(site(addr, strings.NewReplacer("RELAY", relay, "APP", u.addr).Replace(shape.text)))
	}
	return b.String(), addrs
}

// refusedRequest is a request that must not reach the app, and what has to be answered.
type refusedRequest struct {
	name   string
	method string
	path   string
	body   []byte
	header http.Header
	status int
}

func refusedRequests() []refusedRequest {
	body := newEvent("evt_refused").body
	now := time.Now()
	signed := func(secret string, at time.Time) http.Header {
		return http.Header{"Stripe-Signature": {stripeSignature(secret, body, at)}}
	}
	good := signed(secretA, now)
	return []refusedRequest{
		{name: "wrong signature", method: "POST", path: "/stripe", body: body, header: signed(secretWrong, now), status: 401},
		{name: "signature of another body", method: "POST", path: "/stripe", body: body[1:], header: good, status: 401},
		{name: "path in other case", method: "POST", path: "/STRIPE", body: body, header: signed(secretWrong, now), status: 401},
		{name: "escaped path", method: "POST", path: "/%73tripe", body: body, header: signed(secretWrong, now), status: 401},
		{name: "doubled slash", method: "POST", path: "//stripe", body: body, header: signed(secretWrong, now), status: 401},
		{name: "path with a query", method: "POST", path: "/stripe?a=b", body: body, header: signed(secretWrong, now), status: 401},
		{name: "no signature", method: "POST", path: "/stripe", body: body, status: 400},
		{name: "malformed signature", method: "POST", path: "/stripe", body: body, header: http.Header{"Stripe-Signature": {"v1"}}, status: 400},
		{name: "too old", method: "POST", path: "/stripe", body: body, header: signed(secretA, now.Add(-time.Hour)), status: 400},
		{
			name: "forged headers of the relay", method: "POST", path: "/stripe", body: body, status: 400,
			header: http.Header{"Relay-Verified": {"stripe"}, "Relay-Id": {"msg_00000000000000000000000000"}},
		},
		{name: "too large", method: "POST", path: "/stripe", body: bytes.Repeat([]byte("x"), 65<<10), header: good, status: 413},
		{name: "GET", method: "GET", path: "/stripe", status: 405},
		{name: "PUT", method: "PUT", path: "/stripe", body: body, header: good, status: 405},
		{name: "OPTIONS", method: "OPTIONS", path: "/stripe", status: 405},
	}
}

// TestFiveSites serves relays in sites as people write them. No unverified request reaches the app through any of
// them, and no refusal becomes a 2xx on the way.
func TestFiveSites(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	s := newServer(t)
	text, addrs := sites(t, u)
	s.start(s.caddyfile(text))
	for _, addr := range addrs {
		s.awaitReady(addr) // Caddy opens its listeners in any order
	}
	for i, shape := range siteShapes {
		for _, c := range refusedRequests() {
			before := u.requests()
			resp := send(t, c, addrs[i])
			if resp.StatusCode != c.status {
				t.Errorf("%s: %s: status %d, want %d", shape.name, c.name, resp.StatusCode, c.status)
			}
			if u.requests() != before {
				t.Errorf("%s: %s: it has reached the app", shape.name, c.name)
			}
		}
		p := newProvider(t, "http://"+addrs[i]+"/stripe")
		p.sendMany(10, 2)
		u.awaitAll(p, 10*time.Second)
		checkElsewhere(t, shape, addrs[i], u)
	}
	for _, r := range u.all() {
		if r.path == "/stripe" && (r.eventID == "evt_refused" || !strings.HasPrefix(r.messageID, "msg_")) {
			t.Errorf("%s reached the app as %q", r.eventID, r.messageID)
		}
	}
}

// send sends a request and returns the answer without its body.
func send(t testing.TB, c refusedRequest, addr string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+addr+c.path, bytes.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	if c.header != nil {
		req.Header = c.header.Clone()
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	return resp
}

// checkElsewhere looks at what the rest of the site does: as it did before the relay was written into it.
func checkElsewhere(t *testing.T, shape siteShape, addr string, u *upstream) {
	t.Helper()
	want := http.StatusNotFound
	if shape.open {
		want = http.StatusOK
	}
	before := u.requests()
	if resp := send(t, refusedRequest{name: "elsewhere", method: "GET", path: "/elsewhere"}, addr); resp.StatusCode != want {
		t.Errorf("%s: elsewhere: status %d, want %d", shape.name, resp.StatusCode, want)
	}
	if reached := u.requests() != before; reached != shape.open {
		t.Errorf("%s: elsewhere: reached the app: %t", shape.name, reached)
	}
	if strings.Contains(shape.text, "challenge") {
		resp := send(t, refusedRequest{name: "challenge", method: "GET", path: "/stripe?hub.challenge=abc"}, addr)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: challenge: status %d", shape.name, resp.StatusCode)
		}
	}
}

// TestFiveSitesWithoutTheirStore serves the five sites while the store can not be opened yet: each answers 503 with
// Retry-After, whatever the site does about errors, and accepts once the store is there.
func TestFiveSitesWithoutTheirStore(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	s := newServer(t)
	text, addrs := sites(t, u)
	release := startLocked(t, s, s.caddyfile(text), addrs)

	ev := newEvent("evt_too_early")
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() {
			header := http.Header{"Stripe-Signature": {stripeSignature(secretA, ev.body, time.Now())}}
			resp := send(t, refusedRequest{name: siteShapes[i].name, method: "POST", path: "/stripe", body: ev.body, header: header}, addr)
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%s: status %d, Retry-After %q without a store", siteShapes[i].name, resp.StatusCode, resp.Header.Get("Retry-After"))
			}
		})
	}
	wg.Wait()
	if n := u.requests(); n > 0 {
		t.Errorf("%d requests have reached the app", n)
	}
	release()
	for _, addr := range addrs {
		p := newProvider(t, "http://"+addr+"/stripe")
		p.sendMany(5, 1)
		u.awaitAll(p, 10*time.Second)
	}
}

// startLocked starts a server whose store somebody else holds until the function that it returns is called. Caddy
// starts its apps in random order, so it is started until the sites are there before the store.
func startLocked(t *testing.T, s *server, config string, addrs []string) (release func()) {
	t.Helper()
	held, err := pebble.Open(s.store, pebble.Options{})
	if err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	for range 40 {
		s.start(config)
		eventually(t, 10*time.Second, "Caddy starts", func() bool { return s.logged(fmt.Sprintf(`"address":"%s"`, s.admin)) || !s.running() })
		if poll(time.Second, func() bool { return listening(addrs[0]) && listening(addrs[len(addrs)-1]) }) && s.running() {
			return release
		}
		s.kill()
	}
	t.Fatal("the sites were never served before the store was open")
	return nil
}
