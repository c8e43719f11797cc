// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// provider sends signed webhooks as a real one does: it repeats what was not answered with a 2xx, a bounded number of
// times, and it keeps its own ledger of what it meant to send and what was answered.
type provider struct {
	t      testing.TB
	url    string
	tag    string
	client *http.Client

	// tries bounds how often an event is sent, gap is the time between two tries.
	tries int
	gap   time.Duration

	// customers is how many customers the events are about, but for those that are about none.
	customers int

	// header is sent along with each event.
	header http.Header

	seq atomic.Int64

	// signing is held for reading while a request is under way, so that rotate can wait for those that carry the
	// old signature.
	signing sync.RWMutex
	secret  string

	mu       sync.Mutex
	ledger   map[string]*entry
	statuses map[int]int
	failures []error
	acks     int
	markedAt time.Time
	slowest  time.Duration
}

// entry is what the ledger says about an event.
type entry struct {
	sum     [sha256.Size]byte
	lane    string
	begun   time.Time
	ackedAt time.Time // zero until a 2xx came
}

// newProvider returns a provider that sends to url.
func newProvider(t testing.TB, url string) *provider {
	t.Helper()
	p := &provider{
		t: t, url: url, tag: fmt.Sprintf("%x", time.Now().UnixNano()), secret: secretA, tries: 1000, gap: 20 * time.Millisecond,
		client: &http.Client{
			Timeout:   10 * time.Second,
			Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
		},
		ledger: make(map[string]*entry), statuses: make(map[int]int),
	}
	t.Cleanup(p.client.CloseIdleConnections)
	return p
}

// next makes up an event and enters it into the ledger.
func (p *provider) next() event {
	var customer string
	if p.customers > 0 && rand.IntN(5) > 0 {
		customer = fmt.Sprintf("cus_%d", rand.IntN(p.customers))
	}
	ev := newEventOf(fmt.Sprintf("evt_%s_%d", p.tag, p.seq.Add(1)), customer)
	p.intend(ev)
	return ev
}

// intend enters an event into the ledger.
func (p *provider) intend(ev event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger[ev.id] = &entry{sum: ev.sum, lane: ev.lane, begun: time.Now()}
}

// acknowledge notes that an event was answered with a 2xx.
func (p *provider) acknowledge(ev event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.ledger[ev.id]; e.ackedAt.IsZero() {
		e.ackedAt = time.Now()
		p.acks++
	}
}

// send sends an event until it has been answered with a 2xx, and reports whether it was.
func (p *provider) send(ctx context.Context, ev event) bool {
	for range p.tries {
		status, err := p.try(ctx, ev)
		if ctx.Err() != nil && err != nil {
			return false
		}
		p.note(status, err)
		if err == nil && status/100 == 2 {
			p.acknowledge(ev)
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(p.gap):
		}
	}
	return false
}

// try sends an event once, signed for now.
func (p *provider) try(ctx context.Context, ev event) (int, error) {
	p.signing.RLock()
	defer p.signing.RUnlock()
	begun := time.Now()
	resp, err := p.post(ctx, ev.body, http.Header{"Stripe-Signature": {stripeSignature(p.secret, ev.body, begun)}})
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if begun.After(p.markedAt) {
		p.slowest = max(p.slowest, time.Since(begun))
	}
	return resp.StatusCode, nil
}

// mark begins a new count of slowestAnswer.
func (p *provider) mark() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.markedAt, p.slowest = time.Now(), 0
}

// slowestAnswer returns how long the slowest answer took to a request that was sent after the last mark.
func (p *provider) slowestAnswer() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slowest
}

// post sends a body and returns the answer, whose body has been read.
func (p *provider) post(ctx context.Context, body []byte, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	// Without it the transport would repeat a request by itself when the server closes an idle connection.
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	maps.Copy(req.Header, p.header)
	maps.Copy(req.Header, header)
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, err
}

func (p *provider) note(status int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failures = append(p.failures, err)
		return
	}
	p.statuses[status]++
}

// sendMany sends n events from a number of workers at once and returns when all are answered with a 2xx.
func (p *provider) sendMany(n, workers int) {
	p.t.Helper()
	before := p.acked()
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				p.send(p.t.Context(), p.next())
			}
		})
	}
	wg.Wait()
	if got := p.acked() - before; got != n {
		p.t.Fatalf("%d of %d webhooks were accepted; statuses: %v, failures: %v", got, n, p.seen(), p.lastFailure())
	}
}

// load sends events from a number of workers until the function that it returns is called. A worker that has sent an
// event pauses that long before the next one.
func (p *provider) load(workers int, pause time.Duration) (stop func()) {
	quit := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				select {
				case <-quit:
					return
				case <-time.After(pause):
					p.send(ctx, p.next())
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		close(quit)
		patience := time.AfterFunc(15*time.Second, cancel) // for what is being repeated
		wg.Wait()
		patience.Stop()
		cancel()
		p.client.CloseIdleConnections()
	})
}

// rotate makes the provider sign with another secret and returns when no request with the old one is under way.
func (p *provider) rotate(secret string) {
	p.signing.Lock()
	defer p.signing.Unlock()
	p.secret = secret
}

// acked returns how many events have been answered with a 2xx.
func (p *provider) acked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acks
}

// seen returns how often each status has come.
func (p *provider) seen() map[int]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.statuses)
}

// failed returns how many requests got no answer.
func (p *provider) failed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.failures)
}

func (p *provider) lastFailure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.failures) == 0 {
		return nil
	}
	return p.failures[len(p.failures)-1]
}

// books returns a copy of the ledger.
func (p *provider) books() map[string]entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	books := make(map[string]entry, len(p.ledger))
	for id, e := range p.ledger {
		books[id] = *e
	}
	return books
}

// accepted fails the test unless every answer so far was 200.
func (p *provider) accepted() {
	p.t.Helper()
	for status, n := range p.seen() {
		if status != http.StatusOK {
			p.t.Errorf("%d requests were answered with %d", n, status)
		}
	}
}
