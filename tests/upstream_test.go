// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"context"
	"crypto/sha256"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// receipt is one request that has reached the upstream.
type receipt struct {
	messageID  string // Relay-Id
	eventID    string // as the body says it
	named      string // Relay-Event-Id
	sum        [sha256.Size]byte
	attempt    int
	replay     bool
	redriven   bool
	path       string
	arrivedAt  time.Time
	decidedAt  time.Time // when the upstream began to answer
	answeredAt time.Time
	status     int // 0 until it is answered
}

// done reports whether the upstream has answered with a 2xx.
func (r *receipt) done() bool { return r.status/100 == 2 }

// behavior is how the upstream takes a request: it returns the status to answer with, when it wants to, or 0 to
// answer nothing and cut the connection.
type behavior func(ctx context.Context, r receipt) int

// well answers 200 at once.
func well(context.Context, receipt) int { return http.StatusOK }

// hangs never answers.
func hangs(ctx context.Context, _ receipt) int {
	<-ctx.Done()
	return 0
}

// slowly answers 200 after a while.
func slowly(d time.Duration) behavior {
	return func(ctx context.Context, _ receipt) int {
		select {
		case <-time.After(d):
			return http.StatusOK
		case <-ctx.Done():
			return 0
		}
	}
}

// upstream is the app: it keeps a receipt of every request and fails as it is told to.
type upstream struct {
	t    testing.TB
	addr string

	mu        sync.Mutex
	server    *http.Server
	behave    behavior
	receipts  []receipt
	delivered map[string]int // receipts answered with 2xx, by event id
	capture   func(r *http.Request, body []byte)
	cuts      []crash
}

// newUpstream returns an upstream that is up and well.
func newUpstream(t testing.TB) *upstream {
	t.Helper()
	u := &upstream{t: t, addr: freeAddress(t), behave: well, delivered: make(map[string]int)}
	u.up()
	t.Cleanup(u.down)
	return u
}

// up makes the upstream listen.
func (u *upstream) up() {
	u.t.Helper()
	var listener net.Listener
	var err error
	if !poll(5*time.Second, func() bool {
		listener, err = net.Listen("tcp", u.addr)
		return err == nil
	}) {
		u.t.Errorf("starting the upstream: %v", err)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: time.Minute}
	go func(server *http.Server) { _ = server.Serve(listener) }(u.server)
}

// down closes the upstream's listener and cuts all its connections.
func (u *upstream) down() {
	u.mu.Lock()
	server := u.server
	u.mu.Unlock()
	from := time.Now()
	_ = server.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	// What an answer was lost on is tried again when the relay has noticed, which may be after a restart.
	u.cuts = append(u.cuts, crash{from: from, to: time.Now(), slack: time.Second})
}

// cut returns when the upstream has cut its connections.
func (u *upstream) cut() []crash {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.cuts)
}

// turn makes the upstream behave in another way from the next request on.
func (u *upstream) turn(b behavior) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.behave = b
}

// watch has f see each request in full.
func (u *upstream) watch(f func(r *http.Request, body []byte)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.capture = f
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever sent it was killed half-way
	}
	attempt, _ := strconv.Atoi(r.Header.Get("Relay-Attempt"))
	got := receipt{
		messageID: r.Header.Get("Relay-Id"), eventID: eventID(body), named: r.Header.Get("Relay-Event-Id"),
		sum: sha256.Sum256(body), attempt: attempt, replay: r.Header.Get("Relay-Replay") != "",
		redriven: strings.Contains(r.Header.Get("Idempotency-Key"), "-r"),
		path:     r.URL.Path, arrivedAt: time.Now(),
	}
	u.mu.Lock()
	place := len(u.receipts)
	u.receipts = append(u.receipts, got)
	behave := u.behave
	if u.capture != nil {
		u.capture(r, body)
	}
	u.mu.Unlock()

	status := behave(r.Context(), got)
	decided := time.Now()
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
	if err := http.NewResponseController(w).Flush(); err != nil {
		return // the connection was cut before the request that came on it was looked at
	}

	u.mu.Lock()
	defer u.mu.Unlock()
	u.receipts[place].status, u.receipts[place].decidedAt, u.receipts[place].answeredAt = status, decided, time.Now()
	if u.receipts[place].done() {
		u.delivered[got.eventID]++
	}
}

// all returns a copy of the receipts.
func (u *upstream) all() []receipt {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.receipts)
}

// requests returns how many requests have come, answered or not.
func (u *upstream) requests() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.receipts)
}

// events returns how many different events were answered with a 2xx.
func (u *upstream) events() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.delivered)
}

// deliveries returns how often each event was answered with a 2xx.
func (u *upstream) deliveries() map[string]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.delivered)
}

// awaitAll waits until the upstream has taken every event that the provider got a 2xx for.
func (u *upstream) awaitAll(p *provider, within time.Duration) {
	u.t.Helper()
	missing := owed(p, u)
	eventually(u.t, within, "everything that was accepted is delivered", func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		for len(missing) > 0 && u.delivered[missing[len(missing)-1]] > 0 {
			missing = missing[:len(missing)-1]
		}
		return len(missing) == 0
	})
}

// owed returns the events that the provider got a 2xx for and the upstream has not taken yet.
func owed(p *provider, u *upstream) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	var ids []string
	for id, e := range p.ledger {
		if !e.ackedAt.IsZero() && u.delivered[id] == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}
