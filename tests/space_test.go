// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"
)

// TestMaxDiskBoundsTheStore sends more than max_disk lets the store keep. All of it is accepted, since
// what is delivered makes room, and the directory stays near the bound.
func TestMaxDiskBoundsTheStore(t *testing.T) {
	const size, events, bound = 512 << 10, 600, 256 << 20
	u := newUpstream(t)
	addr := freeAddress(t)
	s := newServer(t)
	s.run(s.caddyfile(stripeSite(addr, u), "relay:max_disk 256MiB", "relay:retention never", "relay:min_free 1MiB"), addr)
	p := newProvider(t, "http://"+addr+"/stripe")
	refused, largest := 0, int64(0)
	for i := range events {
		ev := noisyEvent(fmt.Sprintf("evt_noisy_%d", i), size)
		p.intend(ev)
		eventually(t, 30*time.Second, "a webhook is accepted", func() bool {
			resp, err := p.post(t.Context(), ev.body, http.Header{"Stripe-Signature": {stripeSignature(secretA, ev.body, time.Now())}})
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusOK {
				refused++
				return false
			}
			p.acknowledge(ev)
			return true
		})
		if i%10 == 0 {
			largest = max(largest, directorySize(t, s.store))
		}
	}
	u.awaitAll(p, 30*time.Second)
	if largest > bound*3/2 {
		t.Errorf("the store took up to %d MiB", largest>>20)
	}
	if !s.logged("removing finished messages before their time") {
		t.Error("the log does not say that history was shortened")
	}
	s.stop()
	t.Logf("%d MiB sent, at most %d MiB kept, %d refusals", events*size>>20, largest>>20, refused)
}

// noisyEvent makes up an event whose body no compression makes much smaller than that.
func noisyEvent(id string, size int) event {
	noise := make([]byte, size)
	_, _ = rand.Read(noise)
	body := fmt.Appendf(nil, `{ "id":%q,"type":"invoice.paid","pad":"%s"}`, id, base64.StdEncoding.EncodeToString(noise))
	return event{id: id, body: body, sum: sha256.Sum256(body)}
}

// directorySize returns the size of the files of a store, but for its reserve.
func directorySize(t *testing.T, dir string) (sum int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		// Files go while they are listed.
		if info, err := e.Info(); err == nil && e.Name() != "ballast" {
			sum += info.Size()
		}
	}
	return sum
}
