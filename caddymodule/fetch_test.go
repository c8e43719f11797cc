// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// provider is a provider that answers over HTTPS under any name.
type provider struct {
	*httptest.Server
	asked chan string
}

func newProvider(t *testing.T, handler http.HandlerFunc) *provider {
	t.Helper()
	p := &provider{asked: make(chan string, 100)}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked <- "https://" + r.Host + r.URL.String()
		handler(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// reach makes a fetcher come to the provider whatever host it asks for.
func (p *provider) reach(f *fetcher) {
	transport := f.client.Transport.(*http.Transport).Clone()
	roots := x509.NewCertPool()
	roots.AddCert(p.Certificate())
	transport.TLSClientConfig.RootCAs = roots
	transport.TLSClientConfig.ServerName = "example.com" // as the certificate of httptest says
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, p.Listener.Addr().String())
	}
	f.client.Transport = transport
}

func TestFetcherStaysWhereItsAddressLeads(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	p := newProvider(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "https://169.254.169.254/", http.StatusFound)
		case "/gone":
			http.NotFound(w, r)
		case "/denied":
			w.WriteHeader(http.StatusForbidden)
		case "/busy":
			w.WriteHeader(http.StatusTooManyRequests)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "/large":
			_, _ = w.Write(make([]byte, fetchSize+1))
		default:
			_, _ = fmt.Fprint(w, "key")
		}
	})
	f := newFetcher()
	p.reach(f)
	if body, err := f.fetch(t.Context(), scheme.KeyRequest{Method: "GET", URL: "https://keys.test/ok?a=b"}); err != nil || string(body) != "key" {
		t.Errorf("fetched %q, %v", body, err)
	}
	for address, noKey := range map[string]bool{
		"https://keys.test/away":   false,
		"https://keys.test/broken": false,
		"https://keys.test/large":  false,
		"https://keys.test/busy":   false,
		"https://keys.test/gone":   true,
		"https://keys.test/denied": true,
		"http://keys.test/ok":      true,
		"https://u:p@keys.test/ok": true,
		"file:///etc/passwd":       true,
		"https:///ok":              true,
	} {
		_, err := f.fetch(t.Context(), scheme.KeyRequest{Method: "GET", URL: address})
		if err == nil || errors.Is(err, scheme.ErrNoKey) != noKey {
			t.Errorf("%s: %v", address, err)
		}
		if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: the error shows the address: %v", address, err)
		}
	}
	for len(p.asked) > 0 {
		if address := <-p.asked; !strings.HasPrefix(address, "https://keys.test/") {
			t.Errorf("it went to %s", address)
		}
	}
}

func TestFetcherConnectsToPublicAddressesOnly(t *testing.T) {
	for address, public := range map[string]bool{
		"1.1.1.1:443": true, "[2606:4700::1111]:443": true,
		"127.0.0.1:443": false, "10.0.0.1:443": false, "172.16.0.1:443": false, "192.168.1.1:443": false, "169.254.169.254:80": false,
		"100.64.0.1:443": false, "0.0.0.0:443": false, "224.0.0.1:443": false, "255.255.255.255:443": false, "198.18.0.1:443": false,
		"[::1]:443": false, "[fe80::1]:443": false, "[fd00::1]:443": false, "[::ffff:10.0.0.1]:443": false, "[64:ff9b::a00:1]:443": false,
		"[::]:443": false, "[ff02::1]:443": false, "keys.test:443": false,
	} {
		if err := onlyPublic("tcp", address, nil); (err == nil) != public {
			t.Errorf("%s: %v", address, err)
		}
	}
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	if _, err := newFetcher().fetch(t.Context(), scheme.KeyRequest{Method: "GET", URL: server.URL}); !errors.Is(err, errPrivate) {
		t.Errorf("a server on this host: %v", err)
	}
}

func TestFetcherErrorsDoNotShowTheAddress(t *testing.T) {
	f := newFetcher()
	_, err := f.fetch(t.Context(), scheme.KeyRequest{Method: "GET", URL: "https://" + deadAddr(t) + "/?Token=sesame"})
	if err == nil || errors.Is(err, scheme.ErrNoKey) || strings.Contains(err.Error(), "sesame") {
		t.Errorf("error %v", err)
	}
}

const topic = "arn:aws:sns:us-east-1:123456789012:orders"

// amazon is a key of SNS with its certificate.
type amazon struct {
	key         *rsa.PrivateKey
	certificate []byte
}

func newAmazon(t *testing.T) *amazon {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sns.amazonaws.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &amazon{key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// message is a signed message of SNS; visit is the address that it asks to be
// confirmed at, empty for an event.
func (a *amazon) message(t *testing.T, id, visit string) *http.Request {
	t.Helper()
	m := map[string]string{
		"Type": "Notification", "MessageId": id, "TopicArn": topic, "Message": "hello", "Timestamp": time.Now().UTC().Format(time.RFC3339),
		"SignatureVersion": "2", "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
	}
	names := []string{"Message", "MessageId", "Timestamp", "TopicArn", "Type"}
	if visit != "" {
		m["Type"], m["SubscribeURL"], m["Token"] = "SubscriptionConfirmation", visit, "t0ken"
		names = []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}
	}
	var text strings.Builder
	for _, name := range names {
		text.WriteString(name + "\n" + m[name] + "\n")
	}
	sum := sha256.Sum256([]byte(text.String()))
	signature, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	m["Signature"] = base64.StdEncoding.EncodeToString(signature)
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	r := post("/in", strings.ReplaceAll(string(body), `\u0026`, "&"))
	r.Header.Set("X-Amz-Sns-Message-Type", m["Type"])
	return r
}

func TestKeyThatIsFetchedVerifies(t *testing.T) {
	sns := newAmazon(t)
	p := newProvider(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(sns.certificate) })
	app := newUpstream(t, nil)
	h, _ := relayBlock(t, app, "memory", "verify sns "+topic)
	p.reach(h.fetcher)
	for i := range 3 {
		if w := serve(t, h, sns.message(t, fmt.Sprintf("id-%d", i), "")); w.Code != 200 {
			t.Fatalf("answered %d", w.Code)
		}
		<-app.got
	}
	if n := len(p.asked); n != 1 {
		t.Errorf("the certificate was fetched %d times", n)
	}
}

func TestKeySetIsFetchedOnceForAllRelaysAndReloads(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := newProvider(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Use: "sig"}}})
	})
	message := func(kid string) *http.Request {
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"event_id": "e1", "type": "user.created", "kid": kid})
		token.Header["kid"] = kid
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return post("/in", text)
	}
	app := newUpstream(t, nil)
	const verify = "verify kinde {\n key_service https://keys.test/.well-known/jwks\n}"
	h, r := relayBlock(t, app, "memory", verify)
	p.reach(h.fetcher)
	if w := serve(t, h, message("k1")); w.Code != 200 {
		t.Fatalf("answered %d", w.Code)
	}
	again, _ := relayBlock(t, app, "memory", verify)
	r.stop()
	if w := serve(t, again, message("k1")); w.Code != 200 {
		t.Errorf("after a reload: %d", w.Code)
	}
	if w := serve(t, again, message("k2")); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("a key that may be newer than what was fetched just now: %d %v", w.Code, w.Header())
	}
	if n := len(p.asked); n != 1 {
		t.Errorf("the key set was fetched %d times", n)
	}
}

func TestKeyServiceThatIsAwayIsA503AndAKeyThatIsNotThereA401(t *testing.T) {
	sns := newAmazon(t)
	for status, want := range map[int]int{http.StatusBadGateway: 503, http.StatusNotFound: 401} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			p := newProvider(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			h, _ := relayBlock(t, newUpstream(t, nil), "memory", "verify sns "+topic)
			p.reach(h.fetcher)
			w := serve(t, h, sns.message(t, "id-1", ""))
			if w.Code != want || (w.Header().Get("Retry-After") != "") != (want == 503) {
				t.Errorf("got %d %v", w.Code, w.Header())
			}
		})
	}
}

func TestPinnedKeyIsNotFetched(t *testing.T) {
	sns := newAmazon(t)
	file := filepath.Join(t.TempDir(), "sns.pem")
	if err := os.WriteFile(file, append(newAmazon(t).certificate, sns.certificate...), 0o600); err != nil {
		t.Fatal(err)
	}
	app := newUpstream(t, nil)
	h, _ := relayBlock(t, app, "memory", "verify sns "+topic+" {\n keys "+file+"\n}")
	p := newProvider(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	p.reach(h.fetcher)
	if w := serve(t, h, sns.message(t, "id-1", "")); w.Code != 200 {
		t.Errorf("answered %d", w.Code)
	}
	if w := serve(t, h, newAmazon(t).message(t, "id-2", "")); w.Code != 401 {
		t.Errorf("another key got %d", w.Code)
	}
	if len(p.asked) != 0 {
		t.Error("the key was fetched all the same")
	}
}

func TestSubscriptionIsConfirmedAtAmazonOnly(t *testing.T) {
	sns := newAmazon(t)
	p := newProvider(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".pem") {
			_, _ = w.Write(sns.certificate)
		}
	})
	h, r := relayBlock(t, newUpstream(t, nil), "memory", "verify sns "+topic)
	p.reach(h.fetcher)
	const visit = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=t0ken"
	if w := serve(t, h, sns.message(t, "id-1", visit)); w.Code != 200 {
		t.Fatalf("answered %d", w.Code)
	}
	<-p.asked // the certificate
	if got := <-p.asked; got != visit {
		t.Errorf("visited %s", got)
	}
	for _, elsewhere := range []string{"https://evil.test/?Token=t0ken", "http://169.254.169.254/latest", "https://sns.us-east-1.amazonaws.com.evil.test/?a"} {
		if w := serve(t, h, sns.message(t, "id-2", elsewhere)); w.Code != 400 {
			t.Errorf("%s: answered %d", elsewhere, w.Code)
		}
	}
	if w := serve(t, h, newAmazon(t).message(t, "id-3", visit)); w.Code != 401 {
		t.Errorf("a forged confirmation got %d", w.Code)
	}
	if books, _ := r.app.engine.Books(t.Context()); len(books) != 0 {
		t.Errorf("books %v", books)
	}
	if len(p.asked) != 0 {
		t.Errorf("visited %s as well", <-p.asked)
	}
}

func TestVisitThatFailsIsTriedAgain(t *testing.T) {
	p := newProvider(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	f := newFetcher()
	f.gaps = []time.Duration{0, 0}
	p.reach(f)
	core, lines := observer.New(zap.ErrorLevel)
	f.visit("https://keys.test/confirm?Token=sesame", zap.New(core))
	for range maxVisits { // it has ended
		f.visits <- struct{}{}
	}
	if n := len(p.asked); n != 3 {
		t.Errorf("tried %d times", n)
	}
	if all := lines.All(); len(all) != 1 || strings.Contains(fmt.Sprint(all), "sesame") {
		t.Errorf("logged %v", all)
	}
}

func TestVisitsAreBounded(t *testing.T) {
	release := make(chan struct{})
	p := newProvider(t, func(http.ResponseWriter, *http.Request) { <-release })
	f := newFetcher()
	p.reach(f)
	for range maxVisits + 3 {
		f.visit("https://keys.test/confirm", zap.NewNop())
	}
	for range maxVisits {
		<-p.asked
	}
	close(release)
	for range maxVisits { // all have ended
		f.visits <- struct{}{}
	}
	if n := len(p.asked); n != 0 {
		t.Errorf("%d visits more than %d", n, maxVisits)
	}
}
