// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// KeyService says where the keys of a provider are asked for. Unlike a KeyURL it is named by the description, never by
// a request, which names the id of a key at most. A key that is given as a secret takes its place.
type KeyService struct {
	// URL is the address, beginning with https://. Default: it differs from customer to customer, and the
	// configuration must name it.
	URL string `json:"url,omitempty"`
	// Protocol is how it is asked: jwks for a set of JSON Web Keys, which needs no secret; plaid and ebay for what
	// these providers have, the secret being `<client id>:<client secret>`. Default: jwks.
	Protocol string `json:"protocol,omitempty"`
}

// protocol is a way to ask for keys.
type protocol struct {
	// credentials says that a secret is needed to ask.
	credentials bool
	// document is the name of the answer that has the key of an id.
	document func(address, id string) string
	// ask gets it.
	ask func(ctx context.Context, fetch KeyFetch, address, id string, credentials []credential) ([]byte, error)
	// keys takes it apart.
	keys func(p *proof, id string, text []byte) ([]*key, error)
}

// credential is what a client of a key service shows.
type credential struct{ id, secret string }

// protocols are those of KeyService.
var protocols = map[string]*protocol{
	"jwks":  {document: func(address, _ string) string { return address }, ask: askSet, keys: (*proof).setKeys},
	"plaid": {credentials: true, document: perKey, ask: askPlaid, keys: (*proof).plaidKeys},
	"ebay":  {credentials: true, document: perKey, ask: askEbay, keys: (*proof).ebayKeys},
}

func perKey(address, id string) string { return address + "#" + id }

// Protocols lists the names that [KeyService] takes as Protocol, sorted.
func Protocols() []string { return []string{"ebay", "jwks", "plaid"} }

// keyService is a KeyService ready for use.
type keyService struct {
	*protocol
	address, host string
	credentials   []credential
	cache         *KeyCache
	parsed        parsedKeys
}

func (p *proof) compileKeyService() error {
	if p.KeyService == nil {
		return nil
	}
	name := p.KeyService.Protocol
	if name == "" {
		name = "jwks"
	}
	known, ok := protocols[name]
	if !ok {
		return fmt.Errorf("%w: unknown protocol %q of a key service (%s)", ErrInvalid, name, strings.Join(Protocols(), ", "))
	}
	if p.KeyURL != nil {
		return fmt.Errorf("%w: key_url and key_service can not go together", ErrInvalid)
	}
	switch {
	case p.JWT != nil && strings.HasPrefix(p.JWT.Algorithms[0], "HS"),
		p.JWT == nil && !slices.Contains([]Algorithm{Ed25519, ECDSASHA256, ECDSASHA1, RSASHA256, RSASHA1}, p.Algorithm):
		return fmt.Errorf("%w: a key service publishes public keys, which the algorithm does not have", ErrInvalid)
	case name != "jwks" && !p.namesKeys():
		return fmt.Errorf("%w: protocol %s needs the id of the key", ErrInvalid, name)
	}
	p.service = &keyService{protocol: known, address: p.KeyService.URL}
	if p.service.address == "" {
		return nil
	}
	parsed, err := url.Parse(p.service.address)
	if err != nil || parsed.Scheme != "https" || parsed.Host == "" || parsed.User != nil || parsed.Fragment != "" {
		return fmt.Errorf("%w: the address of a key service begins with https:// and a host, and has no password in it", ErrInvalid)
	}
	p.service.host = parsed.Host
	return nil
}

// Keyless reports whether the scheme can do without secrets, as its keys are published.
func (s *Scheme) Keyless() bool {
	return s.KeyService != nil && (s.KeyService.Protocol == "" || s.KeyService.Protocol == "jwks")
}

// bindService takes secrets for pinned keys or for credentials. With a pinned key nothing is fetched.
func (p *proof) bindService(secrets [][]byte, o Options) error {
	if len(secrets) > 0 && (!p.service.protocol.credentials || bytes.Contains(secrets[0], []byte("-----BEGIN"))) {
		p.service = nil
		return p.bind(secrets, o)
	}
	for i, secret := range secrets {
		id, rest, ok := strings.Cut(strings.TrimSpace(string(secret)), ":")
		if !ok || id == "" || rest == "" || strings.Contains(rest, "-----BEGIN") {
			return fmt.Errorf("secret %d of %d: %w: it must be written <client id>:<client secret>, or all <key id>:<public key in PEM>", i+1, len(secrets), ErrKey)
		}
		p.service.credentials = append(p.service.credentials, credential{id, rest})
	}
	switch {
	case p.service.protocol.credentials && len(secrets) == 0:
		return ErrNoSecret
	case p.service.address == "":
		return fmt.Errorf("%w: it must be said where its keys are: key_service <url>, or a key that is pinned as secret", ErrInvalid)
	case o.Keys == nil:
		return fmt.Errorf("%w: its keys are fetched and nothing can fetch them; pin one", ErrInvalid)
	}
	p.service.cache = o.Keys
	return nil
}

// maxKeyID is the longest id of a key that is asked for.
const maxKeyID = 200

// serviceKeys gives the keys to verify with: that of the id, or all where requests name none. after is when they must
// have been asked for; zero is any time.
func (p *proof) serviceKeys(r *Request, id string, after time.Time) ([]*key, *keyDocument, *Failure) {
	if p.namesKeys() && (id == "" || len(id) > maxKeyID) {
		return nil, nil, &Failure{Reason: ErrMismatch, note: "the request does not name its key"}
	}
	u := p.service
	id = strings.Clone(id) // it outlives the body, whose memory it may be
	parse := func(d *keyDocument) ([]*key, error) { return u.protocol.keys(p, id, d.text) }
	find := func(d *keyDocument) []*key { return u.parsed.of(d, parse, id) }
	d, err := u.cache.get(keyQuestion{
		name: u.document(u.address, id), host: u.host, id: id, from: networkOf(r.Remote),
		has: func(d *keyDocument) bool { return d.at.After(after) && len(find(d)) > 0 },
		ask: func(ctx context.Context, fetch KeyFetch) ([]byte, error) {
			return u.ask(ctx, fetch, u.address, id, u.credentials)
		},
	})
	if err != nil {
		return nil, nil, keyFailure(err)
	}
	return find(d), d, nil
}

// withServiceKeys calls verify with the keys of the service. Where requests do not name their key, one that fits none
// may be signed with a newer one, so that the keys are asked for again unless that has just been done.
func (p *proof) withServiceKeys(r *Request, id string, verify func(keys []*key) *Failure) *Failure {
	keys, d, failure := p.serviceKeys(r, id, time.Time{})
	if failure != nil {
		return failure
	}
	failure = verify(keys)
	if failure != nil && errors.Is(failure.Reason, ErrMismatch) && !p.namesKeys() && time.Since(d.at) >= hostInterval {
		fresh, newer, refused := p.serviceKeys(r, id, d.at)
		if refused != nil {
			return refused
		}
		d = newer
		failure = verify(fresh)
	}
	if failure == nil {
		p.service.cache.verified(d)
	}
	return failure
}

// parsedKeys keeps what was made of documents, so that each is parsed once.
type parsedKeys struct {
	mu   sync.Mutex
	made map[string]parsedDocument
}

type parsedDocument struct {
	document *keyDocument
	keys     []*key
}

// of returns the keys in a document, none if it can not be parsed. id tells apart what is made of one document.
func (k *parsedKeys) of(d *keyDocument, parse func(*keyDocument) ([]*key, error), id ...string) []*key {
	name := d.question.name + "\x00" + strings.Join(id, "")
	k.mu.Lock()
	defer k.mu.Unlock()
	if made, ok := k.made[name]; ok && made.document == d {
		return made.keys
	}
	keys, err := parse(d)
	if err != nil {
		return nil
	}
	if len(k.made) >= maxDocuments || k.made == nil {
		k.made = make(map[string]parsedDocument)
	}
	if len(keys) > 0 {
		k.made[name] = parsedDocument{d, keys}
	}
	return keys
}
