// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"crypto/tls"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// triesOften has the deliveries of a gateway end soon after its upstream is back.
const triesOften = "retry fixed 200ms"

// TestValidateBesideARunningServer checks a configuration whose store is in use: it is only checked.
func TestValidateBesideARunningServer(t *testing.T) {
	t.Parallel()
	g := startGateway(t, triesOften)
	begun := time.Now()
	cmd := g.s.command("validate", "--config", filepath.Join(g.s.dir, "Caddyfile"), "--adapter", "caddyfile")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("caddy validate: %v\n%s", err, out)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("caddy validate took %s", took)
	}
	g.p.sendMany(20, 4)
	g.u.awaitAll(g.p, 10*time.Second)
	g.s.stop()
	closeBooks(t, g.s, g.p, g.u)
}

// TestSecondProcessOnTheSameStore starts another Caddy on a store that is in use: it ends with an error that says who
// has the store and what to do, and the first one goes on.
func TestSecondProcessOnTheSameStore(t *testing.T) {
	t.Parallel()
	g := startGateway(t, triesOften)
	second := newServer(t)
	second.store = g.s.store
	second.start(second.caddyfile(stripeSite(freeAddress(t), g.u)))
	if code := second.awaitExit(30 * time.Second); code == 0 {
		t.Error("the second process ended well")
	}
	for _, text := range []string{"process " + strconv.Itoa(g.s.pid()), "caddy reload", g.s.store} {
		if !second.logged(text) {
			t.Errorf("the second process does not say %q", text)
		}
	}
	g.p.sendMany(20, 4)
	g.u.awaitAll(g.p, 10*time.Second)
	g.s.stop()
	closeBooks(t, g.s, g.p, g.u)
}

// TestStoreOfAProcessThatJustEnds starts a Caddy while the one before it still holds the store, as when a container
// is replaced: it waits.
func TestStoreOfAProcessThatJustEnds(t *testing.T) {
	t.Parallel()
	g := startGateway(t, triesOften)
	g.p.sendMany(20, 4)
	next := newServer(t)
	next.store = g.s.store
	addr := freeAddress(t)
	next.start(next.caddyfile(stripeSite(addr, g.u)))
	eventually(t, 10*time.Second, "the next one starts", func() bool { return next.logged("serving initial configuration") || listening(next.admin) })
	g.s.stop()
	next.awaitReady(addr)
	g.p.url = "http://" + addr + "/stripe"
	g.p.sendMany(20, 4)
	g.u.awaitAll(g.p, 10*time.Second)
	next.stop()
	closeBooks(t, next, g.p, g.u)
}

// TestConfigurationWithoutTheRelay takes the relay out of the configuration with messages open, and puts it back.
func TestConfigurationWithoutTheRelay(t *testing.T) {
	t.Parallel()
	g := startGateway(t, triesOften)
	g.u.down()
	g.p.sendMany(50, 8)
	g.s.mustLoad(g.s.plainfile(site(g.addr, "respond 200")))
	g.u.up()
	if resp := send(t, refusedRequest{name: "plain", method: "POST", path: "/stripe"}, g.addr); resp.StatusCode != http.StatusOK {
		t.Errorf("plain site: status %d", resp.StatusCode)
	}
	if n := g.u.requests(); n > 0 {
		t.Errorf("%d deliveries by a configuration that has no relay", n)
	}
	g.s.mustLoad(g.config())
	g.u.awaitAll(g.p, 10*time.Second)
	g.p.sendMany(20, 4)
	g.u.awaitAll(g.p, 10*time.Second)
	g.s.stop()
	closeBooks(t, g.s, g.p, g.u)
}

// TestFailingReloadChangesNothing loads what fails, before and after the relay has been started, with deliveries
// under way.
func TestFailingReloadChangesNothing(t *testing.T) {
	t.Parallel()
	g := startGateway(t, triesOften)
	taken := freeAddress(t)
	listener, err := net.Listen("tcp", taken)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	g.u.turn(slowly(20 * time.Millisecond))
	for range 10 { // the order in which apps start is random
		g.p.sendMany(20, 8)
		for _, broken := range []string{
			g.config() + site(taken, "respond 200"),
			strings.Replace(g.config(), secretA, `""`, 1),
			strings.Replace(g.config(), "retry fixed", "retry fxied", 1),
		} {
			if err := g.s.load(broken); err == nil {
				t.Errorf("a broken configuration was taken:\n%s", broken)
			}
		}
	}
	g.p.sendMany(20, 8)
	g.u.awaitAll(g.p, 20*time.Second)
	g.p.accepted()
	g.s.stop()
	closeBooks(t, g.s, g.p, g.u)
}

// TestSourceThatIsTakenOut removes a relay from the configuration with messages open: they stay, the log says so, and
// when the relay is back they are delivered.
func TestSourceThatIsTakenOut(t *testing.T) {
	t.Parallel()
	g := startGateway(t, triesOften)
	other := newProvider(t, "http://"+g.addr+"/other")
	both := g.s.caddyfile(site(g.addr, stripeRelay(g.u, "retry fixed 200ms")+
		"\nrelay /other http://"+g.u.addr+"/other {\n\tverify stripe "+secretA+"\n\tretry fixed 200ms\n}\nrespond 404"))
	g.s.mustLoad(both)
	g.u.down()
	g.p.sendMany(20, 4)
	other.sendMany(20, 4)

	g.s.mustLoad(g.config())
	eventually(t, 5*time.Second, "the log names what waits", func() bool { return g.s.logged("other:default", `"open":20`) })
	g.u.up()
	g.u.awaitAll(g.p, 10*time.Second)
	for _, r := range g.u.all() {
		if r.path == "/other" {
			t.Fatalf("delivery %s to a destination that has been taken out", r.messageID)
		}
	}
	g.s.mustLoad(both)
	g.u.awaitAll(other, 10*time.Second)
	g.s.stop()
	c := readStore(t, g.s.store)
	if n := c.open(); n > 0 {
		t.Errorf("%d deliveries are still open", n)
	}
}

// TestTwoServersShareOneHandler serves one block over http and https, and on two ports: one relay, one memory of what
// it has seen.
func TestTwoServersShareOneHandler(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	s := newServer(t)
	plain, second, secure := freeAddress(t), freeAddress(t), freeAddress(t)
	port := func(addr string) string { return addr[strings.LastIndex(addr, ":"):] }
	relay := strings.ReplaceAll(stripeRelay(u), "\n", "\n\t")
	s.run(s.caddyfile("http://"+port(plain)+", http://"+port(second)+", https://localhost"+port(secure)+
		" {\n\ttls internal\n\t"+relay+"\n\trespond 404\n}\n", "auto_https disable_redirects"), plain)
	s.awaitReady(second)
	s.awaitReady(secure)

	p := newProvider(t, "http://"+plain+"/stripe")
	// Caddy's own CA is made anew in each run.
	p.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	for _, url := range []string{"http://" + plain + "/stripe", "http://" + second + "/stripe", "https://localhost" + port(secure) + "/stripe"} {
		p.url = url
		p.sendMany(10, 2)
	}
	// One event over all three.
	ev := p.next()
	for _, url := range []string{"https://localhost" + port(secure) + "/stripe", "http://" + plain + "/stripe", "http://" + second + "/stripe"} {
		p.url = url
		if !p.send(t.Context(), ev) {
			t.Fatalf("not accepted at %s", url)
		}
	}
	u.awaitAll(p, 10*time.Second)
	s.mustLoad(s.caddyfile("http://"+port(plain)+" {\n\t"+relay+"\n\trespond 404\n}\n", "auto_https off"))
	p.url = "http://" + plain + "/stripe"
	p.sendMany(10, 2)
	u.awaitAll(p, 10*time.Second)
	p.accepted()
	s.stop()
	closeBooks(t, s, p, u)
}
