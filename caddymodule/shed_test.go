// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

const githubSecret = "0123456789abcdef0123"

// github is a good request of GitHub's, which never sends again by itself.
func github(path, body, delivery string) *http.Request {
	mac := hmac.New(sha256.New, []byte(githubSecret))
	mac.Write([]byte(body))
	r := withHeader(post(path, body), "X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	r.Header.Set("X-GitHub-Event", "issues")
	r.Header.Set("X-GitHub-Delivery", delivery)
	return r
}

// pressed starts a relay for Stripe and one for GitHub and takes all memory but
// the reserve.
func pressed(t *testing.T) *running {
	t.Helper()
	app := newUpstream(t, nil)
	r := start(t, memoryOptions+":0 {\n\trelay /stripe "+app.addr()+" {\n\t\tverify stripe "+stripeSecret+"\n\t}\n"+
		"\trelay /github "+app.addr()+" {\n\t\tverify github "+githubSecret+"\n\t}\n}\n")
	for source, part := range map[string]int64{"one": 2, "other": 4} {
		taken := r.app.engine.Budget().Reserve(source)
		if !taken.Grow(r.app.generation.MaxBuffer / part) {
			t.Fatal("no memory to begin with")
		}
		t.Cleanup(taken.Release)
	}
	return r
}

func TestP10_SendersThatNeverRetryAreShedLast(t *testing.T) {
	r := pressed(t)
	if w := serve(t, r.relay["stripe"], signed("/stripe", `{"id":"evt_1"}`)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("Stripe, which sends again, gets %d", w.Code)
	}
	if w := serve(t, r.relay["github"], github("/github", "{}", "1")); w.Code != http.StatusOK {
		t.Errorf("GitHub, which does not, gets %d", w.Code)
	}
}

func TestA503ForASenderThatNeverRetriesIsLoud(t *testing.T) {
	r := pressed(t)
	h := r.relay["github"]
	counts := func(reason string) float64 { return counted(metrics.unretried.WithLabelValues("github", reason)) }
	taken := r.app.engine.Budget().ReserveLast("last")
	if !taken.Grow(r.app.generation.MaxBuffer / 4) {
		t.Fatal("the reserve is not there")
	}
	before := counts("memory")
	if w := serve(t, h, github("/github", "{}", "2")); w.Code != http.StatusServiceUnavailable || counts("memory") != before+1 {
		t.Errorf("answered %d, counted %g times", w.Code, counts("memory")-before)
	}
	taken.Release()
	if !logged("refused what its sender does not send again") {
		t.Error("the refusal is not told")
	}
	before = counts("not_ready")
	r.stop()
	if w := serve(t, h, github("/github", "{}", "guid-3")); w.Code != http.StatusServiceUnavailable || counts("not_ready") != before+1 {
		t.Errorf("answered %d, counted %g times", w.Code, counts("not_ready")-before)
	}
	if !logged(`event_id="guid-3"`) {
		t.Error("the operator does not learn which event is lost")
	}
	before = counts("mismatch")
	if w := serve(t, h, withHeader(github("/github", "{}", "4"), "X-Hub-Signature-256", "sha256=00")); w.Code == http.StatusServiceUnavailable || counts("mismatch") != before {
		t.Errorf("a forged request gets %d, and is mourned", w.Code)
	}
	stripeBefore := counted(metrics.unretried.WithLabelValues("stripe", "memory"))
	serve(t, r.relay["stripe"], signed("/stripe", `{"id":"evt_1"}`))
	if n := counted(metrics.unretried.WithLabelValues("stripe", "memory")); n != stripeBefore {
		t.Error("Stripe is mourned")
	}
}

// gatedStore is a store in memory that accepts nothing while its gate is closed.
type gatedStore struct {
	MemoryStore
	store.Store
}

// gate is closed by a value in it.
var gate = make(chan struct{}, 1)

func init() { caddy.RegisterModule(new(gatedStore)) }

// CaddyModule returns the Caddy module information.
func (*gatedStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay.stores.gated_test", New: func() caddy.Module { return new(gatedStore) }}
}

// Open returns an empty store.
func (g *gatedStore) Open(context.Context, *zap.Logger) (store.Store, error) {
	return &gatedStore{Store: memory.New(memory.Options{})}, nil
}

// Accept waits for the gate.
func (g *gatedStore) Accept(ctx context.Context, batch []store.Acceptance) ([]store.Accepted, error) {
	gate <- struct{}{}
	defer func() { <-gate }()
	return g.Store.Accept(ctx, batch)
}

// TestP10_TheCommitQueueKeepsRoomForSendersThatNeverRetry fills the queue as far as
// others may fill it.
func TestP10_TheCommitQueueKeepsRoomForSendersThatNeverRetry(t *testing.T) {
	app := newUpstream(t, nil)
	r := start(t, "{\n\trelay {\n\t\tstore gated_test\n\t}\n}\n:0 {\n\trelay /stripe "+app.addr()+" {\n\t\tverify stripe "+stripeSecret+
		"\n\t}\n\trelay /github "+app.addr()+" {\n\t\tverify github "+githubSecret+"\n\t}\n}\n")
	gate <- struct{}{}
	defer func() { <-gate }()
	gone, leave := context.WithCancel(t.Context())
	leave()
	var err error
	for i := 0; !errors.Is(err, relay.ErrOverloaded); i++ {
		if i > 10_000 {
			t.Fatalf("the queue takes everything: %v", err)
		}
		_, err = r.app.engine.Accept(gone, relay.Inbound{Message: &store.Message{Source: "stripe", ReceivedAt: time.Now()}})
	}
	if w := serve(t, r.relay["stripe"], signed("/stripe", `{"id":"evt_1"}`)); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("Stripe, which sends again, gets %d", w.Code)
	}
	// One who may not fill the rest is refused at once, who may waits for the commit.
	refused := metrics.unretried.WithLabelValues("github", "overloaded")
	before := counted(refused)
	if w := serve(t, r.relay["github"], github("/github", "{}", "1")); w.Code != http.StatusServiceUnavailable || counted(refused) != before {
		t.Errorf("GitHub, which does not, gets %d, refused for want of room %g times", w.Code, counted(refused)-before)
	}
}
