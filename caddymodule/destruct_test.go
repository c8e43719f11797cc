// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
)

// A configuration without relays used to cut off what the former one was just
// delivering, which was then delivered twice.
func TestP12_ReloadToAConfigurationWithoutRelaysCutsNothingOff(t *testing.T) {
	var arrived, cut atomic.Int32
	began, loaded := make(chan struct{}, 8), make(chan struct{})
	app := newUpstream(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		began <- struct{}{}
		select {
		case <-loaded:
		case <-r.Context().Done():
			cut.Add(1)
		}
	})
	with := "{\n\trelay {\n\t\tstore pebble " + t.TempDir() + "\n\t}\n}\n" + fmt.Sprintf(plainSite, app.addr())
	if err := load(t, with); err != nil {
		t.Fatal(err)
	}
	if status := sendTo(t, address(t)+"/in", "a message"); status != http.StatusOK {
		t.Fatalf("answered %d", status)
	}
	<-began
	key := activeEngine(t).key
	ended := make(chan error, 1)
	go func() { ended <- load(t, "localhost:0 {\n\trespond 200\n}\n") }()
	eventually(t, "the engine is being closed", func() bool { return references(key) == 0 })
	close(loaded)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := load(t, with); err != nil {
		t.Fatal(err)
	}
	if status := sendTo(t, address(t)+"/in", "another message"); status != http.StatusOK {
		t.Fatalf("answered %d", status)
	}
	eventually(t, "the other message has arrived", func() bool { return arrived.Load() >= 2 })
	if cut.Load() != 0 || arrived.Load() != 2 {
		t.Errorf("%d attempts for 2 messages, %d of them cut off", arrived.Load(), cut.Load())
	}
}
