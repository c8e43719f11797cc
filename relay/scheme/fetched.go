// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// KeyURL says where a provider publishes the key of a request.
type KeyURL struct {
	// Value is the template of the URL.
	Value string `json:"value"`
	// Pattern is what the URL must match as a whole: the request names the key,
	// so its host must be the provider's.
	Pattern string `json:"pattern"`
}

const (
	// fetchTimeout is within the time that senders wait.
	fetchTimeout = 2 * time.Second
	// keyLifetime is how long a fetched key is used before it is asked for again.
	keyLifetime = 24 * time.Hour
	// hostInterval is the least time between two fetches from one host.
	hostInterval = time.Minute
	// maxFetched is how many keys are kept.
	maxFetched = 64
)

// keyURL is a KeyURL with its keys.
type keyURL struct {
	value   *Template
	pattern *regexp.Regexp
	fetch   func(ctx context.Context, url string) ([]byte, error)
	pinned  []*key
	flight  singleflight.Group

	mu    sync.Mutex
	kept  map[string]fetchedKey
	asked map[string]time.Time // by host
}

type fetchedKey struct {
	key *key
	at  time.Time
}

func (p *proof) compileKeyURL() error {
	if p.KeyURL == nil {
		return nil
	}
	u := &keyURL{kept: make(map[string]fetchedKey), asked: make(map[string]time.Time)}
	var err error
	if u.value, err = ParseTemplate(p.KeyURL.Value); err != nil {
		return fmt.Errorf("key_url: %w", err)
	}
	if p.KeyURL.Pattern == "" {
		return fmt.Errorf("%w: key_url needs a pattern that pins its host", ErrInvalid)
	}
	if u.pattern, err = regexp.Compile(`^(?:` + p.KeyURL.Pattern + `)$`); err != nil {
		return fmt.Errorf("%w: key_url: %w", ErrInvalid, err)
	}
	p.keyURL = u
	return nil
}

// bindFetched takes secrets that are pinned keys apart from those that the
// signed text must agree with.
func (p *proof) bindFetched(secrets [][]byte, o Options) error {
	p.keyURL.fetch = o.Fetch
	for i, secret := range secrets {
		trimmed := bytes.TrimSpace(secret)
		if len(trimmed) == 0 {
			return fmt.Errorf("secret %d of %d: %w", i+1, len(secrets), ErrNoSecret)
		}
		if !bytes.HasPrefix(trimmed, []byte("-----BEGIN")) {
			p.keys = append(p.keys, &key{id: string(trimmed), index: i})
			continue
		}
		k, err := p.fetchedKey(trimmed)
		if err != nil {
			return fmt.Errorf("secret %d of %d: %w", i+1, len(secrets), err)
		}
		p.keyURL.pinned = append(p.keyURL.pinned, k)
	}
	if len(p.keys) == 0 {
		return fmt.Errorf("%w: beside the pinned key it must be said whose messages are taken", ErrNoSecret)
	}
	if o.Fetch == nil && len(p.keyURL.pinned) == 0 {
		return fmt.Errorf("%w: its keys are fetched and nothing can fetch them; pin one", ErrInvalid)
	}
	return nil
}

func (p *proof) fetchedKey(text []byte) (*key, error) {
	parsed, err := parsePEM(text)
	if err != nil {
		return nil, err
	}
	return newAsymmetric(p.Algorithm, "", parsed)
}

// matchFetched verifies with the key that the request names, once for each
// secret that the text may have to agree with.
func (p *proof) matchFetched(r *Request, s *scratch) (int, *Failure) {
	keys, failure := p.fetchedKeys(r)
	if failure != nil {
		return 0, failure
	}
	failure = &Failure{Reason: ErrMismatch}
	for _, expected := range p.keys {
		s.message.fields.secret = []byte(expected.id)
		texts, refused := p.form.texts(r, &s.message.fields)
		if refused != nil {
			failure = refused
			continue
		}
		s.message.template, s.message.text = nil, texts[0]
		if _, refused = p.match(keys, s); refused == nil {
			return expected.index, nil
		}
		failure = refused
	}
	return 0, failure
}

// fetchedKeys gives the pinned keys, or the one that the request names.
func (p *proof) fetchedKeys(r *Request) ([]*key, *Failure) {
	u := p.keyURL
	if len(u.pinned) > 0 {
		return u.pinned, nil
	}
	address, missing := u.value.evaluate(r, &Fields{})
	if missing != nil {
		return nil, lacking(missing, r)
	}
	if !u.pattern.MatchString(address) {
		return nil, &Failure{Reason: ErrMismatch, note: "the key's URL is not the provider's"}
	}
	k, err := u.get(address, p.fetchedKey)
	if errors.Is(err, ErrNoKey) {
		return nil, &Failure{Reason: ErrMismatch, note: "the key's URL leads to no key"}
	}
	if err != nil {
		return nil, &Failure{Reason: ErrUnavailable, note: "fetching the provider's key: " + err.Error()}
	}
	return []*key{k}, nil
}

// get returns a key from memory, or fetches it: one request at a time for each
// URL, and at most one a minute for each host. A key that is due for renewal
// serves on where it can not be renewed.
func (u *keyURL) get(address string, parse func([]byte) (*key, error)) (*key, error) {
	now := time.Now()
	u.mu.Lock()
	kept, ok := u.kept[address]
	u.mu.Unlock()
	if ok && now.Sub(kept.at) < keyLifetime {
		return kept.key, nil
	}
	fresh, err, _ := u.flight.Do(address, func() (any, error) { return u.load(address, parse) })
	if err != nil {
		if ok {
			return kept.key, nil
		}
		return nil, err
	}
	return fresh.(*key), nil
}

func (u *keyURL) load(address string, parse func([]byte) (*key, error)) (*key, error) {
	if err := u.allow(address); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	text, err := u.fetch(ctx, address)
	if err != nil {
		return nil, err
	}
	k, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoKey, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.kept) >= maxFetched {
		clear(u.kept)
	}
	u.kept[address] = fetchedKey{k, time.Now()}
	return k, nil
}

// allow spaces the fetches from one host that lead to nothing.
func (u *keyURL) allow(address string) error {
	host := hostOf(address)
	u.mu.Lock()
	defer u.mu.Unlock()
	if last, ok := u.asked[host]; ok && time.Since(last) < hostInterval {
		return fmt.Errorf("%s was asked less than a minute ago", host)
	}
	u.asked[host] = time.Now()
	return nil
}

func hostOf(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return parsed.Host
}
