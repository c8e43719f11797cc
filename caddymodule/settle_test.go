// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"
	"testing"
	"time"
)

// Caddy closes the connections of a proxy that a reload replaces, by which Go may
// lose an answer that is just coming (TestP12_ReloadUnderLoad: a delivery that the
// app had answered with 200 was sent once more).
func TestP12_ShortAttemptEndsBeforeItsProxyIsCleanedUp(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	h, r := relayOf(t, newUpstream(t, func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-release
	}))
	h.destinations[0].forward.direct = nil
	if w := serve(t, h, signed("/in", `{"id":"evt_1"}`)); w.Code != http.StatusOK {
		t.Fatalf("answered %d", w.Code)
	}
	<-begun
	time.AfterFunc(settleTime/20, func() { close(release) })
	if err := r.app.Stop(); err != nil {
		t.Fatal(err)
	}
	if r.app.attempting() {
		t.Error("the attempt was still under way")
	}
	r.app.generation = nil // it is stopped
}
