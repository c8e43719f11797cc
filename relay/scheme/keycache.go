// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// fetchTimeout is within the time that senders wait.
	fetchTimeout = 2 * time.Second
	// keyLifetime is the age at which a fetched key is asked for again.
	keyLifetime = 12 * time.Hour
	// keyIdle is how long a key is kept that verifies nothing.
	keyIdle = 7 * 24 * time.Hour
	// hostInterval is the least time between two questions for unknown keys to one host, and between two renewals.
	hostInterval = time.Minute
	// unknownLifetime is how long an answer stands that there is no such key.
	unknownLifetime = 5 * time.Minute
	// maxDocuments is how many answers are kept.
	maxDocuments = 128
	// maxHosts is how many hosts are remembered.
	maxHosts = 64
)

// KeyRequest is one HTTP request to a key service.
type KeyRequest struct {
	// Method is GET or POST.
	Method string
	// URL is where it goes, over HTTPS.
	URL string
	// Header holds further fields; it may carry credentials.
	Header http.Header
	// Body is what is sent; it may carry credentials.
	Body []byte
}

// KeyFetch sends a request to a key service and returns the answer: over HTTPS only, without redirects, never to an
// address of a private network, and bounded in time and size. Its error wraps ErrNoKey where the service says that
// there is no such key, and shows no credentials.
type KeyFetch func(ctx context.Context, r KeyRequest) ([]byte, error)

// KeyCache holds the keys that providers publish, for all verifiers that are compiled with it, and decides when a
// provider is asked. Nobody can use that up by naming keys that do not exist: a host is asked for one unknown key a
// minute at most, the networks that senders come from taking turns, and what it says of a key stands for a while. Keys
// that are known are renewed apart from that, by [KeyCache.Renew]; the former one stays in force while that fails. It
// may be used by many goroutines at once.
type KeyCache struct {
	fetch KeyFetch
	slots chan struct{} // bounds what is under way

	mu        sync.Mutex
	documents map[string]*keyDocument
	hosts     map[string]*keyHost
	flights   map[string]chan struct{} // by the name of a document, closed at their end
	renewing  bool
}

// keyDocument is what a key service has answered.
type keyDocument struct {
	question keyQuestion
	text     []byte
	at       time.Time // when it was asked for
	used     time.Time // when it last verified anything
	tried    time.Time // when its renewal was last tried
}

// keyQuestion is what a key service is asked.
type keyQuestion struct {
	name string // that of the document, without credentials
	host string
	id   string // of the key that is wanted from the document, for what is not in it
	from string // network of the sender, between which turns are taken
	has  func(*keyDocument) bool
	ask  func(ctx context.Context, fetch KeyFetch) ([]byte, error)
}

// unknown is the name of what a document has not.
func (q *keyQuestion) unknown() string { return q.name + "\x00" + q.id }

// NewKeyCache returns a cache that asks by means of fetch.
func NewKeyCache(fetch KeyFetch) *KeyCache {
	return &KeyCache{
		fetch: fetch, slots: make(chan struct{}, 4),
		documents: make(map[string]*keyDocument), hosts: make(map[string]*keyHost), flights: make(map[string]chan struct{}),
	}
}

// errAllowance says that the service may not be asked yet.
var errAllowance = errors.New("it has been asked for another key less than a minute ago")

// get returns the document that has what is wanted, asking for it if need be and allowed. The error wraps ErrNoKey if
// the service has been asked since and does not have it.
func (c *KeyCache) get(q keyQuestion) (*keyDocument, error) {
	for {
		c.mu.Lock()
		d := c.documents[q.name]
		if d != nil && q.has(d) {
			c.mu.Unlock()
			return d, nil
		}
		if flight, ok := c.flights[q.name]; ok {
			c.mu.Unlock()
			<-flight
			if d, err := c.joined(q); d != nil || err != nil {
				return d, err
			}
			continue
		}
		flight, err := c.allow(q)
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		return c.load(q, flight)
	}
}

// joined looks at what a question under way has brought for another one.
func (c *KeyCache) joined(q keyQuestion) (*keyDocument, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.documents[q.name]; d != nil && q.has(d) {
		return d, nil
	}
	h := c.hosts[q.host]
	if h != nil && h.failure != nil && time.Since(h.asked) < hostInterval {
		return nil, h.failure
	}
	return nil, nil
}

// allow decides whether a question is put now. If it is not, it waits for its turn. The caller holds the lock.
func (c *KeyCache) allow(q keyQuestion) (chan struct{}, error) {
	now := time.Now()
	h, err := c.host(q.host, now)
	if err != nil {
		return nil, err
	}
	if at, ok := h.unknown[q.unknown()]; ok && now.Sub(at) < unknownLifetime {
		return nil, fmt.Errorf("%w: %s has said so", ErrNoKey, q.host)
	}
	h.waiting.add(q)
	if now.Sub(h.asked) < hostInterval {
		if h.failure != nil {
			return nil, h.failure
		}
		return nil, fmt.Errorf("%s: %w", q.host, errAllowance)
	}
	picked, _ := h.waiting.next()
	h.asked, h.failure = now, nil
	flight := make(chan struct{})
	c.flights[picked.name] = flight
	if picked.name == q.name {
		return flight, nil
	}
	go func() { _, _ = c.load(picked, flight) }()
	return nil, fmt.Errorf("%s: %w", q.host, errAllowance)
}

// host returns what is known of a host. The caller holds the lock.
func (c *KeyCache) host(name string, now time.Time) (*keyHost, error) {
	h, ok := c.hosts[name]
	if ok {
		return h, nil
	}
	if len(c.hosts) >= maxHosts {
		for other, h := range c.hosts {
			if now.Sub(h.asked) >= unknownLifetime {
				delete(c.hosts, other)
			}
		}
	}
	if len(c.hosts) >= maxHosts {
		return nil, errors.New("too many hosts of keys have been named")
	}
	h = &keyHost{unknown: make(map[string]time.Time)}
	c.hosts[name] = h
	return h, nil
}

// load puts a question and keeps the answer, which is one for all that wait for something in the same document.
func (c *KeyCache) load(q keyQuestion, flight chan struct{}) (*keyDocument, error) {
	asked := time.Now()
	text, err := c.put(q)
	c.mu.Lock()
	defer func() {
		delete(c.flights, q.name)
		close(flight)
		c.mu.Unlock()
	}()
	h := c.hosts[q.host] // a host with a flight is not forgotten
	if err != nil && !errors.Is(err, ErrNoKey) {
		h.failure = err
		return nil, err
	}
	var d *keyDocument
	if err == nil {
		d = c.keep(q, text, asked)
	}
	for _, other := range append(h.waiting.take(q.name), q) {
		if d == nil || !other.has(d) {
			h.lacks(other, asked)
		}
	}
	if d == nil || !q.has(d) {
		return nil, fmt.Errorf("%w: %s does not have it", ErrNoKey, q.host)
	}
	return d, nil
}

// put sends a question, a few at a time.
func (c *KeyCache) put(q keyQuestion) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, errors.New("too many questions to key services are under way")
	}
	defer func() { <-c.slots }()
	return q.ask(ctx, c.fetch)
}

// keep stores an answer; the one that has verified nothing for longest makes room. The caller holds the lock.
func (c *KeyCache) keep(q keyQuestion, text []byte, at time.Time) *keyDocument {
	d := &keyDocument{question: q, text: text, at: at, tried: at}
	if former, ok := c.documents[q.name]; ok {
		d.used = former.used
	}
	c.documents[q.name] = d
	if len(c.documents) > maxDocuments {
		oldest := ""
		for name, other := range c.documents {
			if name != q.name && (oldest == "" || other.used.Before(c.documents[oldest].used)) {
				oldest = name
			}
		}
		delete(c.documents, oldest)
	}
	return d
}

// verified notes that a document has verified a request, so that it is renewed.
func (c *KeyCache) verified(d *keyDocument) {
	if d == nil {
		return // a pinned key
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if current := c.documents[d.question.name]; current != nil {
		current.used = now
	}
}

// Renew asks again for the keys that are due for it and for those that senders wait for, and returns when that is
// done; it is to be called every few seconds. A call while another one runs does nothing.
func (c *KeyCache) Renew() {
	c.mu.Lock()
	if c.renewing {
		c.mu.Unlock()
		return
	}
	c.renewing = true
	due := c.due(time.Now())
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.renewing = false
		c.mu.Unlock()
	}()
	var all sync.WaitGroup
	for _, run := range due {
		all.Go(run)
	}
	all.Wait()
}

// due lists what is to be asked now. The caller holds the lock.
func (c *KeyCache) due(now time.Time) []func() {
	var due []func()
	for name, d := range c.documents {
		if now.Sub(d.at) < keyLifetime || now.Sub(d.tried) < hostInterval {
			continue
		}
		if now.Sub(d.used) >= keyIdle {
			delete(c.documents, name)
			continue
		}
		h, err := c.host(d.question.host, now)
		if err != nil || now.Sub(h.renewed) < hostInterval {
			continue
		}
		h.renewed, d.tried = now, now
		due = append(due, func() { c.renew(d) })
	}
	for _, h := range c.hosts {
		if now.Sub(h.asked) < hostInterval {
			continue
		}
		q, ok := h.waiting.next()
		if _, flying := c.flights[q.name]; !ok || flying {
			continue
		}
		h.asked, h.failure = now, nil
		flight := make(chan struct{})
		c.flights[q.name] = flight
		due = append(due, func() { _, _ = c.load(q, flight) })
	}
	return due
}

// renew asks for a known key. Only the service's word that it is no more takes it away.
func (c *KeyCache) renew(d *keyDocument) {
	asked := time.Now()
	text, err := c.put(d.question)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.documents[d.question.name] != d {
		return
	}
	switch {
	case err == nil:
		c.keep(d.question, text, asked)
	case errors.Is(err, ErrNoKey):
		delete(c.documents, d.question.name)
	}
}
