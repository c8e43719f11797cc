// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// reloads is a server that is given one configuration after another while a provider sends to it. It has a site of plain
// Caddy beside that of the relay, which gets the same load: what breaks there is not the relay's doing.
type reloads struct {
	t     *testing.T
	s     *server
	u     *upstream
	p     *provider
	plain *provider
	addr  string
	other string // the address of the plain site
	busy  string // an address that somebody else listens on

	broke []breakage // around each reload
}

// TestP12_ReloadUnderLoad changes routes, secrets and retention under load, and tries to load what is broken. Nothing
// is lost, nothing delivered twice, no sender gets anything but 200, and no more connections break than break at a
// plain respond beside it.
func TestP12_ReloadUnderLoad(t *testing.T) {
	r := newReloads(t)
	r.s.run(r.config(0), r.addr)
	r.s.awaitReady(r.other)
	const warm = 6
	for i := range warm {
		r.step(i)
	}
	goroutines, files := r.quiet()

	stop, stopPlain := r.p.load(16, 10*time.Millisecond), r.plain.load(16, 10*time.Millisecond)
	defer stop()
	defer stopPlain()
	for i := range *cycles {
		enough := r.p.acked() + 100
		eventually(t, 30*time.Second, "webhooks are accepted", func() bool { return r.p.acked() >= enough })
		r.step(warm + i)
		r.noteFailures()
	}
	stop()
	stopPlain()
	r.noteFailures()
	r.u.awaitAll(r.p, 30*time.Second)

	r.p.accepted()
	r.plain.accepted()
	r.compareFailures()
	r.notGrown(goroutines, files)
	r.s.stop()
	closeBooks(t, r.s, r.p, r.u)
}

// noteFailures notes which connections have broken since it was called last.
func (r *reloads) noteFailures() {
	now := breakage{relay: r.p.failed(), plain: r.plain.failed()}
	for _, b := range r.broke {
		now.relay -= b.relay
		now.plain -= b.plain
	}
	r.broke = append(r.broke, now)
}

// compareFailures fails the test when more connections broke at the relay than at the plain site beside it, beyond what
// chance explains.
func (r *reloads) compareFailures() {
	r.t.Helper()
	more, bound := excess(r.broke)
	if more > bound {
		r.t.Errorf("%.0f more connections broke at the relay than at a plain site, by chance up to %.1f; the last: %v", more, bound, r.p.lastFailure())
	}
	r.t.Logf("%d reloads; relay: %d accepted, %d broken connections; plain site: %d answered, %d broken connections; %.0f more, by chance up to %.1f",
		*cycles, r.p.acked(), r.p.failed(), r.plain.acked(), r.plain.failed(), more, bound)
}

func newReloads(t *testing.T) *reloads {
	t.Helper()
	r := &reloads{t: t, s: newServer(t), u: newUpstream(t), addr: freeAddress(t), other: freeAddress(t), busy: freeAddress(t)}
	r.plain = newProvider(t, "http://"+r.other+"/stripe")
	r.p = newProvider(t, "http://"+r.addr+"/stripe")
	listener, err := net.Listen("tcp", r.busy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return r
}

// config returns the i-th configuration: each differs from the one before it.
func (r *reloads) config(i int) string {
	secrets := secretA + " " + secretB
	if i%6 == 3 {
		secrets = secretB
	}
	block := fmt.Sprintf("relay /stripe http://%s/v%d {\n\tverify stripe %s\n}\nrespond 404", r.u.addr, i%4, secrets)
	if i%6 == 1 {
		block += "\nrelay /extra " + r.u.addr + "\nrespond /more 204"
	}
	return r.s.caddyfile(site(r.addr, block)+site(r.other, "respond 200"), fmt.Sprintf("relay:retention %dh", 1+i%5))
}

// broken returns a configuration that has to be refused, and a part of what is said about it.
func (r *reloads) broken(i int) (config, text string) {
	good := r.config(0)
	switch i % 4 {
	case 0:
		return strings.Replace(good, "verify stripe", "verify strope", 1), "strope"
	case 1:
		return strings.Replace(good, secretA+" "+secretB, "{env.RELAY_TEST_NOT_SET}", 1), "RELAY_TEST_NOT_SET"
	case 2:
		// Everything is provisioned and the relay may have been started before this one fails.
		return good + site(r.busy, "respond 200"), "address already in use"
	default:
		return strings.Replace(good, "respond 404", "respnod 404", 1), "respnod"
	}
}

// step is the i-th reload. Secrets are rotated as an operator would: the new one is added, the sender changes, and
// the old one is taken out when no server that knows only the old one is left.
func (r *reloads) step(i int) {
	r.t.Helper()
	switch i % 6 {
	case 0:
		r.s.mustLoad(r.config(i))
		r.p.rotate(secretA)
	case 2:
		r.p.rotate(secretB)
		r.s.mustLoad(r.config(i))
	case 4:
		config, text := r.broken(i / 6)
		if err := r.s.load(config); err == nil {
			r.t.Errorf("a broken configuration was taken:\n%s", config)
		} else if runtime.GOOS != "windows" && !strings.Contains(err.Error(), text) {
			r.t.Errorf("the refusal does not say %q: %v", text, err)
		}
	default:
		r.s.mustLoad(r.config(i))
	}
}

// quiet returns how many goroutines and open files the server has at rest, after as many attempts at once as it makes:
// it keeps the goroutines of those. Nobody is connected to it then.
func (r *reloads) quiet() (goroutines, files int) {
	r.t.Helper()
	r.u.turn(slowly(50 * time.Millisecond))
	r.p.sendMany(300, 32)
	r.u.awaitAll(r.p, 30*time.Second)
	r.u.turn(well)
	r.p.client.CloseIdleConnections()
	r.plain.client.CloseIdleConnections()
	r.u.down()
	r.u.up()
	goroutines, files = goroutinesOf(r.s), r.s.openFiles()
	for range 20 { // what has just ended takes a moment
		goroutines, files = min(goroutines, goroutinesOf(r.s)), min(files, r.s.openFiles())
	}
	return goroutines, files
}

// notGrown fails the test when the server has come to hold more than at first. Connections take a moment to close.
func (r *reloads) notGrown(goroutines, files int) {
	r.t.Helper()
	const slack = 16
	var nowGoroutines, nowFiles int
	if !poll(15*time.Second, func() bool {
		nowGoroutines, nowFiles = r.quiet()
		return nowGoroutines <= goroutines+slack && nowFiles <= files+slack
	}) {
		r.t.Errorf("the server holds more than before the reloads")
	}
	r.t.Logf("goroutines %d, then %d; files %d, then %d", goroutines, nowGoroutines, files, nowFiles)
}

// goroutinesOf returns how many goroutines a server has.
func goroutinesOf(s *server) int {
	s.t.Helper()
	line, _, _ := bytes.Cut(s.adminGet("/debug/pprof/goroutine?debug=1"), []byte("\n"))
	var n int
	if _, err := fmt.Sscanf(string(line), "goroutine profile: total %d", &n); err != nil {
		s.t.Fatalf("reading %q: %v", line, err)
	}
	return n
}
