// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSecretInAFileIsSwappedWhileRequestsRun replaces the file of a secret under load, as Kubernetes does, by renaming
// another over it. Requests with the new secret are taken within the time of two looks at the file, those with the old
// one are never refused meanwhile nor after it.
func TestSecretInAFileIsSwappedWhileRequestsRun(t *testing.T) {
	u := newUpstream(t)
	s := newServer(t)
	addr := freeAddress(t)
	file := filepath.Join(s.dir, "stripe.secret")
	put := func(secret string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	put(secretA)
	block := "relay /stripe http://" + u.addr + "/webhooks/stripe {\n\tverify stripe {file." + filepath.ToSlash(file) + "}\n}\nrespond 404"
	s.run(s.caddyfile(site(addr, block)), addr)
	old := newProvider(t, "http://"+addr+"/stripe")
	fresh := newProvider(t, "http://"+addr+"/stripe")
	fresh.tag, fresh.tries = "fresh", 1
	fresh.rotate(secretB)
	if fresh.send(t.Context(), fresh.next()) {
		t.Error("the new secret verifies before it is in the file")
	}
	stop := old.load(4, time.Millisecond)
	put(secretB)
	eventually(t, 20*time.Second, "the new secret is in force", func() bool { return fresh.send(t.Context(), fresh.next()) })
	before := old.acked()
	eventually(t, 10*time.Second, "more requests with the old secret", func() bool { return old.acked() >= before+50 })
	stop()
	for status, n := range old.seen() {
		if status != http.StatusOK {
			t.Errorf("%d requests with the old secret got %d", n, status)
		}
	}
	if s.logged(secretA) || s.logged(secretB) {
		t.Error("a secret is in the log")
	}
	u.awaitAll(old, 20*time.Second)
}
