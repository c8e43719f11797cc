// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// vault is a key service as Plaid and eBay have one, and a key set at other addresses.
type vault struct {
	mu    sync.Mutex
	keys  map[string]any // public, by id
	down  bool
	asked []string
	wrong map[string]bool // credentials
	delay time.Duration
}

func (v *vault) fetch(_ context.Context, r KeyRequest) ([]byte, error) {
	time.Sleep(v.delay)
	v.mu.Lock()
	defer v.mu.Unlock()
	host := strings.Split(r.URL, "/")[2]
	refuse := func(status int, body string) ([]byte, error) {
		return nil, &KeyStatusError{Host: host, Status: status, Body: []byte(body)}
	}
	if v.down {
		v.asked = append(v.asked, "down")
		return nil, errors.New("connection refused")
	}
	switch {
	case strings.HasSuffix(r.URL, "/oauth2/token"):
		id, secret, _ := (&http.Request{Header: r.Header}).BasicAuth()
		if v.wrong[id+":"+secret] {
			return refuse(401, `{"error":"invalid_client"}`)
		}
		return []byte(`{"access_token":"granted","expires_in":7200}`), nil
	case strings.Contains(r.URL, "/public_key/"):
		id := r.URL[strings.LastIndexByte(r.URL, '/')+1:]
		v.asked = append(v.asked, id)
		if r.Header.Get("Authorization") != "Bearer granted" {
			return refuse(401, "")
		}
		if key, ok := v.keys[id]; ok {
			return json.Marshal(map[string]string{"key": strings.ReplaceAll(string(pemOf(key)), "\n", ""), "algorithm": "ECDSA"})
		}
		return refuse(404, "")
	case strings.HasSuffix(r.URL, "/webhook_verification_key/get"):
		return v.plaid(r, refuse)
	}
	v.asked = append(v.asked, r.URL)
	set := jose.JSONWebKeySet{}
	for id, key := range v.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key, KeyID: id, Use: "sig"})
	}
	return json.Marshal(set)
}

func (v *vault) plaid(r KeyRequest, refuse func(int, string) ([]byte, error)) ([]byte, error) {
	var ask struct {
		ID     string `json:"client_id"`
		Secret string `json:"secret"`
		Key    string `json:"key_id"`
	}
	if err := json.Unmarshal(r.Body, &ask); err != nil || r.Method != http.MethodPost {
		return refuse(400, "")
	}
	if v.wrong[ask.ID+":"+ask.Secret] {
		return refuse(400, `{"error_code":"INVALID_API_KEYS"}`)
	}
	v.asked = append(v.asked, ask.Key)
	key, ok := v.keys[ask.Key]
	if !ok {
		return refuse(400, `{"error_code":"INVALID_WEBHOOK_VERIFICATION_KEY_ID"}`)
	}
	text, err := (&jose.JSONWebKey{Key: key, KeyID: ask.Key, Use: "sig", Algorithm: "ES256"}).MarshalJSON()
	return fmt.Appendf(nil, `{"key":%s,"expired_at":null}}`, strings.TrimSuffix(string(text), "}")), err
}

func (v *vault) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.asked)
}

// verifier is a preset whose keys come from the vault.
func (v *vault) verifier(t *testing.T, name, address string, secrets ...string) *Verifier {
	t.Helper()
	s := preset(t, name)
	if address != "" {
		s.KeyService.URL = address
	}
	var all [][]byte
	for _, secret := range secrets {
		all = append(all, []byte(secret))
	}
	made, err := s.CompileWith(all, Options{Keys: NewKeyCache(v.fetch)})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func newECDSA(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// plaidRequest is one of Plaid's, from a sender of that address.
func plaidRequest(t *testing.T, key *ecdsa.PrivateKey, kid, remote string) *Request {
	const body = `{"webhook_type":"ITEM","webhook_code":"ERROR"}`
	r := post(body)
	r.Header.Set("Plaid-Verification", mint(t, jwt.SigningMethodES256, key, kid, bodyClaims("request_body_sha256", body)))
	r.Remote = remote
	return r
}

func statusOfVerify(t *testing.T, v *Verifier, r *Request) int {
	t.Helper()
	_, err := v.Verify(r, noon)
	if err == nil {
		return 200
	}
	return reasonOf(t, err).Status()
}

func TestPlaidKeysAreAskedForByID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newECDSA(t)
		service := &vault{keys: map[string]any{"k1": key.Public()}, wrong: map[string]bool{"old:secret": true}}
		v := service.verifier(t, "plaid", "", "old:secret", "client:secret")
		for range 3 {
			if got := statusOfVerify(t, v, plaidRequest(t, key, "k1", "")); got != 200 {
				t.Fatalf("got %d", got)
			}
		}
		if service.count() != 1 {
			t.Errorf("asked %v", service.asked)
		}
		if got := statusOfVerify(t, v, plaidRequest(t, newECDSA(t), "k1", "")); got != 401 {
			t.Errorf("another key of that id: %d", got)
		}
		time.Sleep(hostInterval)
		for range 3 {
			if got := statusOfVerify(t, v, plaidRequest(t, key, "k2", "")); got != 401 {
				t.Errorf("an unknown key: %d", got)
			}
		}
		if service.count() != 2 {
			t.Errorf("asked %v", service.asked)
		}
		refused := service.verifier(t, "plaid", "", "old:secret")
		if got := statusOfVerify(t, refused, plaidRequest(t, key, "k1", "")); got != 503 {
			t.Errorf("with wrong credentials: %d", got)
		}
	})
}

func TestEbayKeysAreAskedForWithAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := &vault{keys: map[string]any{"kid": testECDSA().Public()}, wrong: map[string]bool{"old:secret": true}}
		v := service.verifier(t, "ebay", "", "old:secret", "client:secret")
		r := signed(t, exampleVerifier(t, preset(t, "ebay")), post(`{"notification":{"notificationId":"n1"}}`), "", noon)
		if got, err := v.Verify(r, noon); err != nil || got.EventID != "n1" {
			t.Fatalf("%+v %v", got, err)
		}
		r.Body = append(r.Body, ' ')
		if got := statusOfVerify(t, v, r); got != 401 {
			t.Errorf("another body: %d", got)
		}
		refused := service.verifier(t, "ebay", "", "old:secret")
		if got := statusOfVerify(t, refused, r); got != 503 {
			t.Errorf("with wrong credentials: %d", got)
		}
	})
}

func TestKeySetIsAskedForAgainForAnUnknownID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const address = "https://acme.kinde.com/.well-known/jwks"
		service := &vault{keys: map[string]any{"a": testRSA().Public(), "other": newECDSA(t).Public()}}
		v := service.verifier(t, "kinde", address)
		from := func(kid string) *Request {
			return post(mint(t, jwt.SigningMethodRS256, testRSA(), kid, jwt.MapClaims{"event_id": "e", "type": "t"}))
		}
		if got := statusOfVerify(t, v, from("a")); got != 200 {
			t.Fatalf("got %d", got)
		}
		service.keys = map[string]any{"b": testRSA().Public()}
		// It has just been asked: what it says of a key published since is not known, so the sender is to try again.
		if got := statusOfVerify(t, v, from("b")); got != 503 {
			t.Errorf("within the minute: %d", got)
		}
		time.Sleep(hostInterval)
		if got := statusOfVerify(t, v, from("b")); got != 200 {
			t.Errorf("after it: %d", got)
		}
		if got := statusOfVerify(t, v, from("a")); got == 200 {
			t.Error("a key that is no more in the set verifies")
		}
		if service.count() != 2 {
			t.Errorf("asked %v", service.asked)
		}
	})
}

func TestKeysWithoutIDsAreAskedForAgainWhenNoneFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := &vault{keys: map[string]any{"": testRSA().Public()}}
		v := service.verifier(t, "constantcontact", "")
		protected := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","b64":false}`))
		raw, _ := base64.StdEncoding.DecodeString(signRSA(t, protected+".{}"))
		r := post("{}")
		r.Header.Set("X-CTCT-WEBHOOK-SIG", protected+".."+base64.RawURLEncoding.EncodeToString(raw))
		if got := statusOfVerify(t, v, r); got != 200 {
			t.Fatalf("got %d", got)
		}
		forged := *r
		forged.Body = []byte("{ }")
		for range 3 {
			if got := statusOfVerify(t, v, &forged); got != 401 {
				t.Errorf("a forged one: %d", got)
			}
		}
		if service.count() != 1 {
			t.Errorf("asked %v", service.asked)
		}
		time.Sleep(hostInterval)
		if got := statusOfVerify(t, v, &forged); got != 401 || service.count() != 2 {
			t.Errorf("a minute later: %d, asked %v", got, service.asked)
		}
	})
}

func TestPinnedKeyOfAServiceIsNotFetched(t *testing.T) {
	for _, name := range []string{"kinde", "plaid", "ebay", "constantcontact"} {
		s := preset(t, name)
		v, err := s.CompileWith([][]byte{[]byte(exampleSecret(&s.Proof))}, Options{})
		if err != nil || v.proofs[0].service != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.CompileWith([][]byte{[]byte(exampleSecret(&s.Proof)), []byte("client:secret")}, Options{}); err == nil {
			t.Errorf("%s: a pinned key beside credentials", name)
		}
	}
	if _, err := preset(t, "kinde").CompileWith(nil, Options{Keys: NewKeyCache(nil)}); !errors.Is(err, ErrInvalid) {
		t.Errorf("Kinde without an address: %v", err)
	}
	if _, err := preset(t, "plaid").CompileWith([][]byte{[]byte("client")}, Options{Keys: NewKeyCache(nil)}); !errors.Is(err, ErrKey) {
		t.Errorf("Plaid without a secret: %v", err)
	}
}

func TestConcurrentRequestsAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newECDSA(t)
		service := &vault{keys: map[string]any{"k1": key.Public()}, delay: time.Second}
		v := service.verifier(t, "plaid", "", "client:secret")
		var good atomic.Int32
		var all sync.WaitGroup
		r := plaidRequest(t, key, "k1", "")
		for range 20 {
			all.Go(func() {
				if _, err := v.Verify(r, noon); err == nil {
					good.Add(1)
				}
			})
		}
		all.Wait()
		if good.Load() != 20 || service.count() != 1 {
			t.Errorf("%d of 20 verified, asked %v", good.Load(), service.asked)
		}
	})
}

// A flood that names keys which do not exist delays a key that does by one turn, however large it is.
func TestFloodOfBogusKeysDoesNotStarveARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := newECDSA(t), newECDSA(t)
		service := &vault{keys: map[string]any{"old": old.Public(), "fresh": fresh.Public()}}
		v := service.verifier(t, "plaid", "", "client:secret")
		if got := statusOfVerify(t, v, plaidRequest(t, old, "old", "198.51.100.1")); got != 200 {
			t.Fatalf("got %d", got)
		}
		const minutes = 6
		verified := -1
		for second := range 60 * minutes {
			for i := range 50 {
				statusOfVerify(t, v, plaidRequest(t, old, fmt.Sprintf("bogus-%d-%d", second, i), "203.0.113.7"))
			}
			if got := statusOfVerify(t, v, plaidRequest(t, old, "old", "198.51.100.1")); got != 200 {
				t.Fatalf("second %d: the known key got %d", second, got)
			}
			if second%20 == 10 { // the provider tries again now and then
				if got := statusOfVerify(t, v, plaidRequest(t, fresh, "fresh", "198.51.100.9")); got == 200 && verified < 0 {
					verified = second
				}
			}
			v.options.Keys.Renew()
			time.Sleep(time.Second)
		}
		if verified < 0 || verified > 180 {
			t.Errorf("the new key verified after %d s", verified)
		}
		if n := service.count(); n > minutes+2 {
			t.Errorf("asked %d times in %d minutes", n, minutes)
		}
	})
}

func TestKnownKeysAreRenewedApartFromRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newECDSA(t)
		service := &vault{keys: map[string]any{"k1": key.Public()}}
		v := service.verifier(t, "plaid", "", "client:secret")
		r := plaidRequest(t, key, "k1", "")
		if got := statusOfVerify(t, v, r); got != 200 {
			t.Fatalf("got %d", got)
		}
		time.Sleep(keyLifetime)
		if got := statusOfVerify(t, v, r); got != 200 || service.count() != 1 {
			t.Errorf("a request has waited for a renewal: %d, asked %v", got, service.asked)
		}
		service.down = true
		for range 5 {
			v.options.Keys.Renew()
		}
		if got := statusOfVerify(t, v, r); got != 200 || service.count() != 2 {
			t.Errorf("while the service is away: %d, asked %v", got, service.asked)
		}
		service.down = false
		time.Sleep(hostInterval)
		// What strangers ask for does not take the place of a renewal.
		statusOfVerify(t, v, plaidRequest(t, key, "bogus", ""))
		v.options.Keys.Renew()
		v.options.Keys.Renew()
		if service.count() != 4 {
			t.Errorf("asked %v", service.asked)
		}
		time.Sleep(keyLifetime)
		delete(service.keys, "k1")
		v.options.Keys.Renew()
		if got := statusOfVerify(t, v, r); got == 200 {
			t.Error("a key that the provider has taken back verifies")
		}
	})
}

func TestSNSAsksForNothingWhereTheTopicIsAnother(t *testing.T) {
	service, v := snsService(t)
	for i := range 10 {
		r := notification(t, topic+"x", fmt.Sprintf("https://sns.region-%d.amazonaws.com/a.pem", i))
		if _, err := v.Verify(r, noon); !errors.Is(err, ErrMismatch) {
			t.Error(err)
		}
	}
	if service.asked != 0 {
		t.Errorf("asked %d times", service.asked)
	}
}

// pemOf writes a public key.
func pemOf(public any) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
