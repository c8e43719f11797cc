// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// TestP10_MaxBacklogBoundsWhatWaits sends to a source whose app is down until its max_backlog is reached. From there on
// it gets 503 before its bodies are asked for, while another source goes on; when the app is back it is taken again, and
// nothing that was accepted is lost.
func TestP10_MaxBacklogBoundsWhatWaits(t *testing.T) {
	const bound = 1 << 20
	u := newUpstream(t)
	addr := freeAddress(t)
	s := newServer(t)
	config := s.caddyfile(site(addr, stripeRelay(u, "max_size 64KiB", "max_backlog 1MiB")+
		"\nrelay /other http://"+u.addr+"/webhooks/stripe {\n\tverify stripe "+secretA+"\n}"))
	s.run(config, addr)
	p := newProvider(t, "http://"+addr+"/stripe")
	u.down()
	var refused *http.Response
	accepted := 0
	for n := 0; refused == nil; n++ {
		ev := noisyEvent(fmt.Sprintf("evt_backlog_%d", n), 16<<10)
		p.intend(ev)
		resp, err := p.post(t.Context(), ev.body, http.Header{"Stripe-Signature": {stripeSignature(secretA, ev.body, time.Now())}})
		switch {
		case err != nil || n > 1000:
			t.Fatalf("request %d: %v", n, err)
		case resp.StatusCode == http.StatusOK:
			p.acknowledge(ev)
			accepted += len(ev.body)
		default:
			refused = resp
		}
	}
	if after, err := strconv.Atoi(refused.Header.Get("Retry-After")); refused.StatusCode != 503 || err != nil || after < 1 {
		t.Errorf("refused with %d and %v", refused.StatusCode, refused.Header)
	}
	if accepted > bound || accepted < bound*3/4 {
		t.Errorf("%d bytes were accepted, want just under %d", accepted, bound)
	}
	if got := s.metric(`caddy_relay_backlog_bytes{source="stripe"}`); got > bound || got < float64(accepted) {
		t.Errorf("the metric says that %v bytes wait, and %d were accepted", got, accepted)
	}
	if got := s.metric(`caddy_relay_rejected_total{reason="backlog",source="stripe"}`); got != 1 {
		t.Errorf("the metric says that %v requests were refused", got)
	}
	p.url = "http://" + addr + "/other"
	if !p.send(t.Context(), p.next()) {
		t.Error("another source was refused, too")
	}
	p.url = "http://" + addr + "/stripe"
	crash := s.kill()
	s.run(config, addr)
	ev := noisyEvent("evt_backlog_over", 32<<10)
	p.intend(ev)
	if status, err := p.try(t.Context(), ev); err != nil || status != 503 {
		t.Errorf("after a crash: %d, %v", status, err)
	}
	u.up()
	p.sendMany(100, 4)
	if !p.send(t.Context(), ev) {
		t.Error("what was refused is not taken when there is room")
	}
	u.awaitAll(p, time.Minute)
	eventually(t, 10*time.Second, "nothing waits", func() bool { return s.metric(`caddy_relay_backlog_bytes{source="stripe"}`) == 0 })
	s.stop()
	closeBooks(t, s, p, u, crash)
}
