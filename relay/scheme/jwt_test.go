// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func bodyClaims(name, body string) jwt.MapClaims {
	sum := sha256.Sum256([]byte(body))
	return jwt.MapClaims{name: hex.EncodeToString(sum[:]), "iat": noon.Unix()}
}

func mint(t *testing.T, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestPlaidBindsKeyAlgorithmBodyAndAge(t *testing.T) {
	const body = `{"webhook_type":"ITEM","webhook_code":"ERROR"}`
	der, err := x509.MarshalPKIXPublicKey(testECDSA().Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	v := mustCompile(t, preset(t, "plaid"), "k1:"+string(public))
	claims := bodyClaims("request_body_sha256", body)
	for name, c := range map[string]struct {
		token string
		body  string
		at    time.Time
		want  error
	}{
		"good":          {mint(t, jwt.SigningMethodES256, testECDSA(), "k1", claims), body, noon, nil},
		"old":           {mint(t, jwt.SigningMethodES256, testECDSA(), "k1", claims), body, noon.Add(6 * time.Minute), ErrStale},
		"another body":  {mint(t, jwt.SigningMethodES256, testECDSA(), "k1", claims), body + " ", noon, ErrMismatch},
		"another kid":   {mint(t, jwt.SigningMethodES256, testECDSA(), "k2", claims), body, noon, ErrMismatch},
		"no kid":        {mint(t, jwt.SigningMethodES256, testECDSA(), "", claims), body, noon, ErrMismatch},
		"no body claim": {mint(t, jwt.SigningMethodES256, testECDSA(), "k1", jwt.MapClaims{"iat": noon.Unix()}), body, noon, ErrMismatch},
		"no iat": {mint(t, jwt.SigningMethodES256, testECDSA(), "k1",
			jwt.MapClaims{"request_body_sha256": claims["request_body_sha256"]}), body, noon, ErrMismatch},
		"public key as a secret": {mint(t, jwt.SigningMethodHS256, public, "k1", claims), body, noon, ErrMismatch},
		"none":                   {mint(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "k1", claims), body, noon, ErrMismatch},
		"no token":               {"x.y", body, noon, ErrMalformed},
	} {
		r := post(c.body)
		r.Header.Set("Plaid-Verification", c.token)
		_, err := v.Verify(r, c.at)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, expected %v", name, err, c.want)
		}
	}
}

func TestJWTOfASecret(t *testing.T) {
	v := mustCompile(t, preset(t, "monday"), "secret")
	r := signed(t, v, post(`{"event":{"type":"a"}}`), "", noon)
	if _, err := v.Verify(r, noon.Add(50*time.Second)); err != nil {
		t.Error(err)
	}
	_, err := v.Verify(r, noon.Add(2*time.Minute))
	if f := reasonOf(t, err); !errors.Is(err, ErrStale) || f.Skew != time.Minute {
		t.Errorf("%v", err)
	}
	r.Header.Set("Authorization", mint(t, jwt.SigningMethodHS512, []byte("secret"), "", jwt.MapClaims{}))
	if _, err := v.Verify(r, noon); !errors.Is(err, ErrMismatch) {
		t.Errorf("an algorithm that the provider does not use: %v", err)
	}
}

func TestEveryElementOfABatchIsChecked(t *testing.T) {
	v := mustCompile(t, preset(t, "msgraph"), "state")
	for body, want := range map[string]error{
		`{"value":[{"clientState":"state"},{"clientState":"state"}]}`: nil,
		`{"value":[{"clientState":"state"},{"clientState":"other"}]}`: ErrMismatch,
		`{"value":[{"clientState":"state"},{}]}`:                      ErrMismatch,
		`{"value":[]}`:                                                ErrMissing,
		`{}`:                                                          ErrMissing,
		`{"value":[{"clientState":"state"}`:                           ErrMalformed,
	} {
		if _, err := v.Verify(post(body), noon); !errors.Is(err, want) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestTokenInTheBody(t *testing.T) {
	v := mustCompile(t, preset(t, "figma"), "pass")
	got, err := v.Verify(post(`{"passcode":"pass","event_type":"PING","webhook_id":"1","timestamp":"t","retries":0}`), noon)
	if err != nil || len(got.Identity) != 3 {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := v.Verify(post(`{"passcode":"pass2"}`), noon); !errors.Is(err, ErrMismatch) {
		t.Error(err)
	}
	if _, err := v.Verify(post(`{}`), noon); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
}

func TestKindeSendsATokenAsItsBody(t *testing.T) {
	v := exampleVerifier(t, preset(t, "kinde"))
	token := mint(t, jwt.SigningMethodRS256, testRSA(), "kid", jwt.MapClaims{"event_id": "e", "type": "user.created", "iat": noon.Unix()})
	got, err := v.Verify(post(token), noon)
	if err != nil || len(got.Identity) == 0 || !got.Timestamp.Equal(noon) {
		t.Errorf("%+v %v", got, err)
	}
	for body, want := range map[string]error{
		token[:len(token)-4] + "AAAA": ErrMismatch,
		"{}":                          ErrMalformed,
		"":                            ErrMissing,
		mint(t, jwt.SigningMethodRS256, testRSA(), "other", jwt.MapClaims{}):                                 ErrMismatch,
		mint(t, jwt.SigningMethodRS256, testRSA(), "kid", jwt.MapClaims{"sub": "a user", "type": "x"}):       ErrMismatch,
		mint(t, jwt.SigningMethodHS256, []byte("kid"), "kid", jwt.MapClaims{}):                               ErrMismatch,
		mint(t, jwt.SigningMethodRS256, testRSA(), "kid", jwt.MapClaims{"exp": noon.Add(-time.Hour).Unix()}): ErrStale,
	} {
		if _, err := v.Verify(post(body), noon); !errors.Is(err, want) {
			t.Errorf("%q: %v, expected %v", body, err, want)
		}
	}
}

// The canonical request is the example of Atlassian's documentation.
func TestAtlassianConnectHashesTheQuery(t *testing.T) {
	r := post("")
	r.Method, r.URL = "get", "https://example.com/path/to/service?zee_last=param&repeated=parameter%201&first=param&repeated=parameter%202&jwt=ABC"
	want := "GET&/path/to/service&first=param&repeated=parameter%201,parameter%202&zee_last=param"
	if got, ok := atlassianQuery(r); !ok || string(got) != want {
		t.Errorf("%q, expected %q", got, want)
	}
	v := mustCompile(t, preset(t, "jiraconnect"), "secret")
	r = signed(t, v, post("{}"), "", noon)
	r.URL += "&c=d"
	if _, err := v.Verify(r, noon); !errors.Is(err, ErrMismatch) {
		t.Errorf("another query: %v", err)
	}
}

func TestMessageBirdTokensAreOfMessageBird(t *testing.T) {
	v := mustCompile(t, preset(t, "messagebird"), "secret")
	r := post("")
	sum := sha256.Sum256([]byte(r.URL))
	for issuer, want := range map[string]error{"MessageBird": nil, "Other": ErrMismatch, "": ErrMismatch} {
		claims := jwt.MapClaims{"iss": issuer, "url_hash": hex.EncodeToString(sum[:])}
		r.Header.Set("MessageBird-Signature-JWT", mint(t, jwt.SigningMethodHS384, []byte("secret"), "", claims))
		if _, err := v.Verify(r, noon); !errors.Is(err, want) {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}
