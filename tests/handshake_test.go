// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// question is what a provider asks before it sends events, and the answer that it wants.
type question struct {
	method, target, body string
	header               http.Header
	status               int
	answer               string
}

func mac(secret, text string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return h.Sum(nil)
}

// versioned signs as Slack and Zoom do.
func versioned(secret, body, signature, stamp string) http.Header {
	at := strconv.FormatInt(time.Now().Unix(), 10)
	h := make(http.Header)
	h.Set(stamp, at)
	h.Set(signature, "v0="+hex.EncodeToString(mac(secret, "v0:"+at+":"+body)))
	return h
}

// questions are those of providers whose answers can be made here.
func questions() map[string]question {
	const slack = `{"token":"t","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}`
	const zoom = `{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event":"endpoint.url_validation"}`
	return map[string]question{
		"slack": {
			"POST", "/slack", slack, versioned(secretA, slack, "X-Slack-Signature", "X-Slack-Request-Timestamp"), 200,
			"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
		},
		"slack, forged": {"POST", "/slack", slack, versioned(secretWrong, slack, "X-Slack-Signature", "X-Slack-Request-Timestamp"), 401, ""},
		"meta":          {"GET", "/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock", "", nil, 200, "1158201444"},
		"meta, forged":  {"GET", "/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=wrong", "", nil, 403, ""},
		"x": {
			"GET", "/x?crc_token=challenge_string", "", nil, 200,
			`{"response_token":"sha256=` + base64.StdEncoding.EncodeToString(mac(secretA, "challenge_string")) + `"}`,
		},
		"x, an event to be signed": {"GET", "/x?crc_token=%7B%22for_user_id%22%3A1%7D", "", nil, 400, ""},
		"zoom": {
			"POST", "/zoom", zoom, versioned(secretA, zoom, "X-Zm-Signature", "X-Zm-Request-Timestamp"), 200,
			`{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"` + hex.EncodeToString(mac(secretA, "qgg8vlvZRS6UYooatFL8Aw")) + `"}`,
		},
		"zoom, forged": {"POST", "/zoom", zoom, versioned(secretWrong, zoom, "X-Zm-Signature", "X-Zm-Request-Timestamp"), 401, ""},
	}
}

// ask puts a question.
func (q *question) ask(t *testing.T, addr string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), q.method, "http://"+addr+q.target, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	if q.header != nil {
		r.Header = q.header
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(answer)
}

// TestHandshakesAreAnsweredByTheProduct asks as providers do, and as who forges their questions; nothing of that
// reaches the app.
func TestHandshakesAreAnsweredByTheProduct(t *testing.T) {
	u := newUpstream(t)
	s := newServer(t)
	addr := freeAddress(t)
	block := "respond 404"
	for name, verify := range map[string]string{
		"slack": "verify slack " + secretA, "x": "verify x " + secretA, "zoom": "verify zoom " + secretA,
		"meta": "verify meta " + secretA + " {\n\t\ttoken meatyhamhock\n\t}",
	} {
		block = "relay /" + name + " " + u.addr + " {\n\t" + verify + "\n}\n" + block
	}
	s.run(s.caddyfile(site(addr, block)), addr)
	for name, q := range questions() {
		resp, answer := q.ask(t, addr)
		if resp.StatusCode != q.status || q.status == 200 && answer != q.answer {
			t.Errorf("%s: answered %d %q, want %d %q", name, resp.StatusCode, answer, q.status, q.answer)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: the answer may be sniffed: %v", name, resp.Header)
		}
	}
	if n := u.requests(); n != 0 {
		t.Errorf("%d questions came to the app", n)
	}
}

// TestSecretOfAHandshakeOutlivesACrash has Asana bring the secret, and the process killed after it has been answered.
func TestSecretOfAHandshakeOutlivesACrash(t *testing.T) {
	u := newUpstream(t)
	s := newServer(t)
	addr := freeAddress(t)
	config := s.caddyfile(site(addr, "relay /asana "+u.addr+" {\n\tverify asana {\n\t\texpect_secret\n\t}\n}\nrespond 404"))
	s.run(config, addr)
	event := func(secret, body string) int {
		q := question{method: "POST", target: "/asana", body: body, header: http.Header{"X-Hook-Signature": {hex.EncodeToString(mac(secret, body))}}}
		resp, _ := q.ask(t, addr)
		return resp.StatusCode
	}
	opened := func() {
		t.Helper()
		eventually(t, 30*time.Second, "the store is open", func() bool { return event(secretWrong, "{}") != 503 })
	}
	opened()
	if got := event(secretA, `{"events":[]}`); got < 400 {
		t.Errorf("an event before the handshake got %d", got)
	}
	bring := question{method: "POST", target: "/asana", body: "{}", header: http.Header{"X-Hook-Secret": {secretA}}}
	if resp, _ := bring.ask(t, addr); resp.StatusCode != 200 || resp.Header.Get("X-Hook-Secret") != secretA {
		t.Fatalf("the handshake got %d %v", resp.StatusCode, resp.Header)
	}
	s.kill()
	s.run(config, addr)
	opened()
	if got := event(secretA, `{"events":[{"action":"changed"}]}`); got != 200 {
		t.Errorf("an event after the crash got %d", got)
	}
	if got := event(secretWrong, `{"events":[]}`); got != 401 {
		t.Errorf("a forged event got %d", got)
	}
	bring.header = http.Header{"X-Hook-Secret": {secretB}}
	if resp, _ := bring.ask(t, addr); resp.StatusCode < 400 || resp.Header.Get("X-Hook-Secret") != "" {
		t.Errorf("a second secret got %d %v", resp.StatusCode, resp.Header)
	}
	eventually(t, 10*time.Second, "the event reaches the app", func() bool { return u.requests() == 1 })
	if s.logged(secretA) || s.logged(secretB) {
		t.Error("a secret is in the log")
	}
}
