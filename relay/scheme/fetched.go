// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// KeyURL says where a provider publishes the key of a request.
type KeyURL struct {
	// Value is the template of the URL.
	Value string `json:"value"`
	// Pattern is what the URL must match as a whole: the request names the key,
	// so its host must be the provider's.
	Pattern string `json:"pattern"`
}

// keyURL is a KeyURL ready for use.
type keyURL struct {
	value   *Template
	pattern *regexp.Regexp
	cache   *KeyCache
	pinned  []*key
	parsed  parsedKeys
}

func (p *proof) compileKeyURL() error {
	if p.KeyURL == nil {
		return nil
	}
	u := new(keyURL)
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
	p.keyURL.cache = o.Keys
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
	if o.Keys == nil && len(p.keyURL.pinned) == 0 {
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
// secret that the text may have to agree with. Nothing is fetched for a request
// that agrees with none.
func (p *proof) matchFetched(r *Request, s *scratch) (int, *Failure) {
	failure := &Failure{Reason: ErrMismatch}
	var keys []*key
	var source *keyDocument
	for _, expected := range p.keys {
		s.message.fields.secret = []byte(expected.id)
		texts, refused := p.form.texts(r, &s.message.fields)
		if refused != nil {
			failure = refused
			continue
		}
		if keys == nil {
			if keys, source, refused = p.fetchedKeys(r); refused != nil {
				return 0, refused
			}
		}
		s.message.template, s.message.text = nil, texts[0]
		if _, refused = p.match(keys, s); refused == nil {
			p.keyURL.cache.verified(source)
			return expected.index, nil
		}
		failure = refused
	}
	return 0, failure
}

// fetchedKeys gives the pinned keys, or the one that the request names.
func (p *proof) fetchedKeys(r *Request) ([]*key, *keyDocument, *Failure) {
	u := p.keyURL
	if len(u.pinned) > 0 {
		return u.pinned, nil, nil
	}
	address, missing := u.value.evaluate(r, &Fields{})
	if missing != nil {
		return nil, nil, lacking(missing, r)
	}
	if !u.pattern.MatchString(address) {
		return nil, nil, &Failure{Reason: ErrMismatch, note: "the key's URL is not the provider's"}
	}
	address = strings.Clone(address) // it outlives the body, whose memory it may be
	readable := func(d *keyDocument) ([]*key, error) {
		k, err := p.fetchedKey(d.text)
		return []*key{k}, err
	}
	d, err := u.cache.get(keyQuestion{
		name: address, host: hostOf(address), from: networkOf(r.Remote),
		has: func(d *keyDocument) bool { return len(u.parsed.of(d, readable)) > 0 },
		ask: func(ctx context.Context, fetch KeyFetch) ([]byte, error) {
			return fetch(ctx, KeyRequest{Method: http.MethodGet, URL: address})
		},
	})
	if err != nil {
		return nil, nil, keyFailure(err)
	}
	return u.parsed.of(d, readable), d, nil
}

// keyFailure says why there is no key to verify with.
func keyFailure(err error) *Failure {
	if errors.Is(err, ErrNoKey) {
		return &Failure{Reason: ErrMismatch, note: "the request names a key that its provider does not have: " + err.Error()}
	}
	return &Failure{Reason: ErrUnavailable, note: "fetching the provider's key: " + err.Error()}
}

func hostOf(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return parsed.Host
}
