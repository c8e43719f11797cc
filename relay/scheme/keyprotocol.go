// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// KeyStatusError is what [KeyFetch] returns where a key service answers with another status than 200.
type KeyStatusError struct {
	// Host is who answers.
	Host string
	// Status is the HTTP status.
	Status int
	// Body is what the service says.
	Body []byte
}

// Error names host and status.
func (e *KeyStatusError) Error() string { return fmt.Sprintf("%s answers %d", e.Host, e.Status) }

// Is reports whether the status says that there is no such key, as Amazon does with 403.
func (e *KeyStatusError) Is(target error) bool {
	final := e.Status >= 400 && e.Status < 500 && e.Status != http.StatusRequestTimeout && e.Status != http.StatusTooManyRequests
	return target == ErrNoKey && final
}

// maxSet is how many keys of a set are looked at.
const maxSet = 64

// askSet gets a set of JSON Web Keys. An address at which there is nothing is a wrong address, not an unknown key.
func askSet(ctx context.Context, fetch KeyFetch, address, _ string, _ []credential) ([]byte, error) {
	text, err := fetch(ctx, KeyRequest{Method: http.MethodGet, URL: address, Header: http.Header{"Accept": {"application/json"}}})
	if err == nil {
		_, err = readSet(text)
	}
	if err != nil {
		return nil, fmt.Errorf("getting the key set: %s", err.Error()) // of ErrNoKey it must not be one
	}
	return text, nil
}

// readSet takes a set apart.
func readSet(text []byte) ([]json.RawMessage, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) == 0 {
		return nil, errors.New("it is no set of JSON Web Keys")
	}
	return set.Keys[:min(len(set.Keys), maxSet)], nil
}

// setKeys finds the keys of an id in a set, all that the algorithm can use where requests name none.
func (p *proof) setKeys(id string, text []byte) ([]*key, error) {
	set, err := readSet(text)
	if err != nil {
		return nil, err
	}
	var keys []*key
	for _, element := range set {
		k, err := p.webKey(element)
		if err != nil || id != "" && k.id != id {
			continue // sets hold keys for other uses as well
		}
		if keys = append(keys, k); len(keys) == maxAsymmetric {
			break
		}
	}
	return keys, nil
}

// webKey reads a JSON Web Key, which must be public and for signatures.
func (p *proof) webKey(text []byte) (*key, error) {
	var web jose.JSONWebKey
	if err := web.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("%w: it is no JSON Web Key", ErrKey)
	}
	if !web.IsPublic() || !web.Valid() || web.Use != "" && web.Use != "sig" {
		return nil, fmt.Errorf("%w: a JSON Web Key that is not public or not for signatures", ErrKey)
	}
	k, err := p.publicKey(web.Key)
	if err != nil {
		return nil, err
	}
	if p.JWT != nil && web.Algorithm != "" && !slices.Contains(p.JWT.Algorithms, web.Algorithm) {
		return nil, fmt.Errorf("%w: a JSON Web Key for another algorithm", ErrKey)
	}
	k.id = web.KeyID
	return k, nil
}

// publicKey binds a public key to the algorithm of the proof.
func (p *proof) publicKey(public crypto.PublicKey) (*key, error) {
	if p.JWT != nil {
		return newJWTPublic(p.JWT.Algorithms, public)
	}
	return newAsymmetric(p.Algorithm, p.Signature.Tag, public)
}

// askPlaid asks Plaid for the key of an id, with each of the credentials until one is good.
func askPlaid(ctx context.Context, fetch KeyFetch, address, id string, credentials []credential) (text []byte, err error) {
	for _, c := range credentials {
		body, _ := json.Marshal(map[string]string{"client_id": c.id, "secret": c.secret, "key_id": id}) //nolint:errchkjson // strings can always be written
		text, err = fetch(ctx, KeyRequest{Method: http.MethodPost, URL: address, Header: http.Header{"Content-Type": {"application/json"}}, Body: body})
		status, ok := errors.AsType[*KeyStatusError](err)
		if !ok {
			return text, err
		}
		var answer struct {
			Code string `json:"error_code"`
		}
		_ = json.Unmarshal(status.Body, &answer)
		if !strings.Contains(answer.Code, "API_KEYS") && !strings.Contains(answer.Code, "CLIENT_ID") && status.Status < 500 && errors.Is(err, ErrNoKey) {
			return nil, err
		}
		err = fmt.Errorf("%s: %s", status.Error(), "the client id or secret is wrong, or the service is down")
	}
	return nil, err
}

// plaidKeys reads Plaid's answer. A key that has expired is none.
func (p *proof) plaidKeys(id string, text []byte) ([]*key, error) {
	var answer struct {
		Key json.RawMessage `json:"key"`
	}
	var life struct {
		Expired *int64 `json:"expired_at"`
	}
	if json.Unmarshal(text, &answer) != nil || json.Unmarshal(answer.Key, &life) != nil {
		return nil, fmt.Errorf("%w: it is no answer of Plaid", ErrKey)
	}
	if life.Expired != nil && time.Unix(*life.Expired, 0).Before(time.Now()) {
		return nil, fmt.Errorf("%w: it has expired", ErrKey)
	}
	k, err := p.webKey(answer.Key)
	if err != nil {
		return nil, err
	}
	k.id = id
	return []*key{k}, nil
}

// ebayScope is what an application's token must be good for.
const ebayScope = "https://api.ebay.com/oauth/api_scope"

// askEbay gets a token for the application and asks with it for the key of an id.
func askEbay(ctx context.Context, fetch KeyFetch, address, id string, credentials []credential) (text []byte, err error) {
	service, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	grant := url.Values{"grant_type": {"client_credentials"}, "scope": {ebayScope}}.Encode()
	for _, c := range credentials {
		basic := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(c.id) + ":" + url.QueryEscape(c.secret)))
		text, err = fetch(ctx, KeyRequest{
			Method: http.MethodPost, URL: "https://" + service.Host + "/identity/v1/oauth2/token", Body: []byte(grant),
			Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {"Basic " + basic}},
		})
		if err != nil {
			err = fmt.Errorf("getting a token: %s", err.Error()) // of ErrNoKey it must not be one
			continue
		}
		var granted struct {
			Token string `json:"access_token"`
		}
		if json.Unmarshal(text, &granted) != nil || granted.Token == "" {
			return nil, errors.New("getting a token: there is none in the answer")
		}
		return askEbayKey(ctx, fetch, strings.TrimSuffix(address, "/")+"/"+url.PathEscape(id), granted.Token)
	}
	return nil, err
}

func askEbayKey(ctx context.Context, fetch KeyFetch, address, token string) ([]byte, error) {
	text, err := fetch(ctx, KeyRequest{Method: http.MethodGet, URL: address, Header: http.Header{"Authorization": {"Bearer " + token}}})
	if status, ok := errors.AsType[*KeyStatusError](err); ok && (status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden) {
		return nil, errors.New(status.Error()) // of the application, not of the key
	}
	return text, err
}

// ebayKeys reads the answer of eBay's Notification API.
func (p *proof) ebayKeys(id string, text []byte) ([]*key, error) {
	var answer struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("%w: it is no answer of eBay", ErrKey)
	}
	parsed, err := parsePEM([]byte(answer.Key))
	if err != nil {
		return nil, err
	}
	k, err := p.publicKey(parsed)
	if err != nil {
		return nil, err
	}
	k.id = id
	return []*key{k}, nil
}
