// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limitFiles sets how many file descriptors the process may have. Those that it has stay open.
func (s *server) limitFiles(n uint64) {
	s.t.Helper()
	var now unix.Rlimit
	if err := unix.Prlimit(s.pid(), unix.RLIMIT_NOFILE, nil, &now); err != nil {
		s.t.Fatal(err)
	}
	if err := unix.Prlimit(s.pid(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: now.Max}, nil); err != nil {
		s.t.Fatal(err)
	}
}

// largeEvent makes up an event whose body has that many bytes.
func largeEvent(id string, size int) event {
	body := append([]byte(`{ "id":"`+id+`","type":"invoice.paid","pad":"`), bytes.Repeat([]byte("x"), size)...)
	body = append(body, `"}`...)
	return event{id: id, body: body, sum: sha256.Sum256(body)}
}

// TestP13_StoreThatFails takes the store's files away from under it: it can open no new ones. From then on there is no
// 2xx, not even for a duplicate, but 503 with Retry-After, and the other sites go on. When files can be opened again
// it accepts again by itself, and has lost nothing.
func TestP13_StoreThatFails(t *testing.T) {
	u := newUpstream(t)
	addr, other := freeAddress(t), freeAddress(t)
	s := newServer(t)
	s.run(s.caddyfile(stripeSite(addr, u, "retry fixed 500ms")+site(other, "respond 200")), other)
	s.awaitReady(addr)
	p := newProvider(t, "http://"+addr+"/stripe")
	plain := newProvider(t, "http://"+other+"/")
	p.sendMany(20, 1)
	plain.sendMany(1, 1)
	u.awaitAll(p, 10*time.Second)

	post := func(ev event) *http.Response {
		resp, err := p.post(t.Context(), ev.body, http.Header{"Stripe-Signature": {stripeSignature(secretA, ev.body, time.Now())}})
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		return resp
	}
	accepted := p.next()
	if !p.send(t.Context(), accepted) {
		t.Fatal("not accepted")
	}
	failed := crash{from: time.Now()}
	s.limitFiles(1)
	status := 0
	for i := 0; i < 300 && status != http.StatusServiceUnavailable; i++ {
		ev := largeEvent(fmt.Sprintf("evt_large_%d", i), 512<<10)
		p.intend(ev)
		if status = post(ev).StatusCode; status == http.StatusOK {
			p.acknowledge(ev)
		}
	}
	if status != http.StatusServiceUnavailable {
		t.Fatalf("the last status is %d; the store never failed", status)
	}
	for range 20 {
		if status := post(accepted).StatusCode; status != http.StatusServiceUnavailable {
			t.Errorf("status %d for a duplicate while the store has failed", status)
		}
		if status := post(p.next()).StatusCode; status != http.StatusServiceUnavailable {
			t.Errorf("status %d while the store has failed", status)
		}
		plain.sendMany(1, 1)
	}
	s.limitFiles(1024)
	failed.to = time.Now().Add(time.Minute)
	eventually(t, 60*time.Second, "it accepts again", func() bool { return post(accepted).StatusCode == http.StatusOK })
	failed.to = time.Now()
	p.sendMany(20, 1)
	u.awaitAll(p, 30*time.Second)
	s.stop()
	closeBooks(t, s, p, u, failed)
}

// TestP13_StoreThatFailsEndsTheProcess is the same with on_storage_failure exit: the process says why and ends, and
// after a start everything that was accepted is there.
func TestP13_StoreThatFailsEndsTheProcess(t *testing.T) {
	u := newUpstream(t)
	addr := freeAddress(t)
	s := newServer(t)
	config := s.caddyfile(stripeSite(addr, u, "retry fixed 500ms"), "relay:on_storage_failure exit")
	s.run(config, addr)
	p := newProvider(t, "http://"+addr+"/stripe")
	p.sendMany(20, 1)
	failed := crash{from: time.Now()}
	s.limitFiles(1)
	for i := 0; i < 300 && s.running(); i++ {
		ev := largeEvent(fmt.Sprintf("evt_large_%d", i), 512<<10)
		p.intend(ev)
		resp, err := p.post(t.Context(), ev.body, http.Header{"Stripe-Signature": {stripeSignature(secretA, ev.body, time.Now())}})
		if err == nil && resp.StatusCode == http.StatusOK {
			p.acknowledge(ev)
		}
	}
	if code := s.awaitExit(10 * time.Second); code != 3 {
		t.Errorf("exit code %d", code)
	}
	if !s.logged("ending the process, as on_storage_failure says", "too many open files") {
		t.Error("the log does not say why")
	}
	failed.to = time.Now()
	s.run(config, addr)
	p.sendMany(5, 1)
	u.awaitAll(p, 30*time.Second)
	s.stop()
	closeBooks(t, s, p, u, failed)
}
