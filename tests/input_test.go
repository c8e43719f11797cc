// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// intake is a gateway for requests that are written byte by byte.
type intake struct{ *gateway }

func newIntake(t *testing.T, lines ...string) *intake {
	t.Helper()
	return &intake{startGateway(t, lines...)}
}

// dial connects to the relay.
func (in *intake) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", in.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// head returns the head of a webhook for a body, with further lines in it.
func head(body []byte, lines ...string) string {
	return "POST /stripe HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/json\r\nStripe-Signature: " +
		stripeSignature(secretA, body, time.Now()) + "\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// exchange writes a request and returns the status of the answer.
func (in *intake) exchange(t *testing.T, request string) int {
	t.Helper()
	conn := in.dial(t)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return answer(t, bufio.NewReader(conn)).StatusCode
}

// answer reads one answer whole.
func answer(t *testing.T, r *bufio.Reader) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return resp
}

// nothingArrives fails the test when anything has reached the upstream.
func (in *intake) nothingArrives(t *testing.T) {
	t.Helper()
	in.p.sendMany(1, 1) // what came before it would have been delivered before it, or with it
	in.u.awaitAll(in.p, 10*time.Second)
	for _, r := range in.u.all() {
		if r.messageID == "" || in.p.books()[r.eventID].begun.IsZero() {
			t.Errorf("%q reached the upstream as %q", r.eventID, r.messageID)
		}
	}
}

func TestBodyOverTheLimitIsRefusedBeforeItIsRead(t *testing.T) {
	t.Parallel()
	in := newIntake(t, "max_size 64KiB")

	t.Run("announced", func(t *testing.T) {
		t.Parallel()
		if status := in.exchange(t, head(nil, "Content-Length: 65537")); status != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d for a body of which nothing has been sent", status)
		}
	})
	t.Run("announced far beyond what fits", func(t *testing.T) {
		t.Parallel()
		if status := in.exchange(t, head(nil, "Content-Length: 9223372036854775807")); status != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d", status)
		}
	})
	t.Run("chunked", func(t *testing.T) {
		t.Parallel()
		conn := in.dial(t)
		reader := bufio.NewReader(conn)
		if _, err := io.WriteString(conn, head(nil, "Transfer-Encoding: chunked")); err != nil {
			t.Fatal(err)
		}
		// The limit and one byte, of a body that has no end.
		if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n1\r\nx\r\n", 64<<10, bytes.Repeat([]byte("x"), 64<<10)); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		resp := answer(t, reader)
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d for a body over the limit", resp.StatusCode)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("answered after %s", took)
		}
		if !resp.Close {
			t.Error("the connection goes on after a body that was not read")
		}
	})
	t.Run("within", func(t *testing.T) {
		t.Parallel()
		body := bytes.Repeat([]byte("x"), 64<<10)
		request := head(body, fmt.Sprintf("Content-Length: %d", len(body))) + string(body)
		if status := in.exchange(t, request); status != http.StatusOK {
			t.Errorf("status %d for a body of exactly the limit", status)
		}
	})
}

// TestBodiesArriveByteForByte sends bodies that any decoder on the way would change.
func TestBodiesArriveByteForByte(t *testing.T) {
	t.Parallel()
	in := newIntake(t, "max_size 4MiB")
	var mu sync.Mutex
	arrived := make(map[[sha256.Size]byte]http.Header)
	in.u.watch(func(r *http.Request, body []byte) {
		mu.Lock()
		defer mu.Unlock()
		arrived[sha256.Sum256(body)] = r.Header.Clone()
	})
	binary := make([]byte, 512)
	for i := range binary {
		binary[i] = byte(i)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(bytes.Repeat([]byte(`{"id":"evt_zipped"}`), 1000))
	_ = z.Close()
	for _, c := range []struct {
		name    string
		body    []byte
		chunked bool
		lines   []string
	}{
		{name: "nothing"},
		{name: "line ends", body: []byte("{\"id\":\"evt_crlf\",\r\n\n\r\"a\":1}\r\n\r\n")},
		{name: "byte order mark, escapes and a duplicate key", body: []byte("\xef\xbb\xbf{\"id\":\"evt_bom\",\"a\":\"\\u00e9\\/é\",\"a\":1e2, \"a\":1.0 }")},
		{name: "not UTF-8, with zeros", body: binary},
		{name: "placeholders", body: []byte(`{"id":"evt_placeholder","a":"{env.HOME} {http.request.uri} {file./etc/hostname}"}`)},
		{name: "gzip", body: zipped.Bytes(), lines: []string{"Content-Encoding: gzip"}},
		{name: "form", body: []byte("a=%7B%7D&b=+%20;c"), lines: []string{"Content-Type: application/x-www-form-urlencoded"}},
		{name: "large", body: bytes.Repeat([]byte("0123456789abcdef"), 200<<10)},
		{name: "chunked", chunked: true, body: []byte("{\"id\":\"evt_chunked\",\"pad\":\"" + strings.Repeat("y", 200_000) + "\"}")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			request := head(c.body, append(c.lines, fmt.Sprintf("Content-Length: %d", len(c.body)))...) + string(c.body)
			if c.chunked {
				request = head(c.body, append(c.lines, "Transfer-Encoding: chunked")...) + chunks(c.body, 7000)
			}
			if status := in.exchange(t, request); status != http.StatusOK {
				t.Fatalf("status %d", status)
			}
			sum := sha256.Sum256(c.body)
			eventually(t, 10*time.Second, "the same bytes arrive", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return arrived[sum] != nil
			})
			for _, line := range c.lines {
				name, value, _ := strings.Cut(line, ": ")
				if got := arrived[sum][name]; !slices.Contains(got, value) {
					t.Errorf("%s arrived as %q, want %q", name, got, value)
				}
			}
		})
	}
}

// chunks writes a body in chunks of a size, with an extension on each.
func chunks(body []byte, size int) string {
	var b strings.Builder
	for chunk := range slices.Chunk(body, size) {
		fmt.Fprintf(&b, "%x;name=value\r\n%s\r\n", len(chunk), chunk)
	}
	return b.String() + "0\r\n\r\n"
}

// TestHeadersOfTheSender looks at what becomes of headers: a sender can not speak as the relay, what belongs to its
// connection ends there, and all else arrives as it was.
func TestHeadersOfTheSender(t *testing.T) {
	t.Parallel()
	in := newIntake(t, "drop_header X-Dropped")
	var mu sync.Mutex
	var header http.Header
	var host string
	in.u.watch(func(r *http.Request, _ []byte) {
		mu.Lock()
		defer mu.Unlock()
		header, host = r.Header.Clone(), r.Host
	})
	ev := in.p.next()
	if status := in.exchange(t, head(ev.body,
		fmt.Sprintf("Content-Length: %d", len(ev.body)),
		"Relay-Id: msg_00000000000000000000000000", "relay-event-id: evt_forged", "Relay-Attempt: 99", "Relay-Replay: 1",
		"RELAY-VERIFIED: github", "Relay-Source: other", "Relay-Type: forged", "Relay-Received-At: never", "Relay-Anything: forged",
		"Connection: keep-alive, X-Only-Here, Stripe-Nothing", "X-Only-Here: hop", "Keep-Alive: timeout=5", "Te: trailers",
		"Proxy-Authorization: Basic c2VjcmV0", "Proxy-Connection: keep-alive", "Upgrade: websocket",
		"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: gopher", "X-Forwarded-Host: evil.example.com", "Forwarded: for=192.0.2.1",
		"X-Dropped: yes", "X-Twice: one", "X-Twice: two", "X-Odd-Value:   \"quoted\"; {env.HOME}  ", "User-Agent: Provider/1.0 (+https://example.com)",
	)+string(ev.body)); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	in.p.acknowledge(ev)
	in.u.awaitAll(in.p, 10*time.Second)
	mu.Lock()
	defer mu.Unlock()
	checkArrived(t, header, ev)
	if host != "hooks.example.com" {
		t.Errorf("Host %q", host)
	}
}

// checkArrived looks at the headers with which an event of TestHeadersOfTheSender has arrived.
func checkArrived(t *testing.T, header http.Header, ev event) {
	t.Helper()
	for _, name := range []string{
		"Relay-Anything", "Relay-Replay", "X-Only-Here", "Keep-Alive", "Te", "Proxy-Authorization", "Proxy-Connection",
		"Upgrade", "Transfer-Encoding", "Forwarded", "X-Dropped",
	} {
		if values, ok := header[name]; ok {
			t.Errorf("%s reached the app as %q", name, values)
		}
	}
	for name, want := range map[string]string{
		"Relay-Event-Id": ev.id, "Relay-Attempt": "1", "Relay-Verified": "stripe", "Relay-Source": "stripe", "Relay-Type": "invoice.paid",
		"Content-Type": "application/json", "User-Agent": "Provider/1.0 (+https://example.com)", "X-Odd-Value": "\"quoted\"; {env.HOME}",
		"X-Forwarded-Proto": "http", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "hooks.example.com",
	} {
		if got := header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s arrived as %q, want %q", name, got, want)
		}
	}
	if got := header["X-Twice"]; !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("X-Twice arrived as %q", got)
	}
	id := header.Get("Relay-Id")
	if !strings.HasPrefix(id, "msg_") || id == "msg_00000000000000000000000000" || header.Get("Idempotency-Key") != id {
		t.Errorf("Relay-Id %q, Idempotency-Key %q", id, header.Get("Idempotency-Key"))
	}
	if _, err := time.Parse(time.RFC3339Nano, header.Get("Relay-Received-At")); err != nil {
		t.Errorf("Relay-Received-At: %v", err)
	}
	if got := header.Get("Stripe-Signature"); !strings.HasPrefix(got, "t=") {
		t.Errorf("Stripe-Signature arrived as %q", got)
	}
}

// TestMalformedRequests writes what no client writes. None of it is a 2xx, none of it reaches the app, and the next
// good request is served.
func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	in := newIntake(t)
	ev := newEvent("evt_malformed")
	length := fmt.Sprintf("Content-Length: %d", len(ev.body))
	for _, c := range []struct{ name, request string }{
		{"garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not HTTP at all\r\n\r\n"},
		{"two lengths", head(ev.body, length, "Content-Length: 5") + string(ev.body)},
		{"negative length", head(ev.body, "Content-Length: -1") + string(ev.body)},
		{"unknown transfer encoding", head(ev.body, "Transfer-Encoding: gzip, chunked") + chunks(ev.body, 100)},
		{"folded header", head(ev.body, length, "X-Folded: a\r\n\tb") + string(ev.body)[:10]},
		{"bad chunk size", head(ev.body, "Transfer-Encoding: chunked") + "zz\r\n" + string(ev.body) + "\r\n0\r\n\r\n"},
		{"chunk with another end", head(ev.body, "Transfer-Encoding: chunked") + "5\r\n" + string(ev.body) + "\r\n0\r\n\r\n"},
		{"two signatures", head(ev.body, length, "Stripe-Signature: "+stripeSignature(secretWrong, ev.body, time.Now())) + string(ev.body)},
		{"signature of another body", head([]byte("{}"), length) + string(ev.body)},
	} {
		conn := in.dial(t)
		if _, err := io.WriteString(conn, c.request); err != nil {
			continue // it has hung up already
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && resp.StatusCode < 400 {
			t.Errorf("%s: status %d", c.name, resp.StatusCode)
		}
	}
	in.nothingArrives(t)
}

// TestBodyThatNeverEnds holds a body back: the sender is not waited for, and gets no 2xx.
func TestBodyThatNeverEnds(t *testing.T) {
	t.Parallel()
	in := newIntake(t)
	ev := newEvent("evt_slow")
	for _, c := range []struct{ name, request string }{
		{"announced", head(ev.body, fmt.Sprintf("Content-Length: %d", len(ev.body))) + string(ev.body[:len(ev.body)-1])},
		{"chunked", head(ev.body, "Transfer-Encoding: chunked") + strings.TrimSuffix(chunks(ev.body, 100), "0\r\n\r\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn := in.dial(t)
			begun := time.Now()
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if took := time.Since(begun); took < 9*time.Second || took > 15*time.Second {
				t.Errorf("the relay waited %s for the body, want about 10s", took)
			}
			if err == nil && resp.StatusCode/100 == 2 {
				t.Errorf("status %d for half a body", resp.StatusCode)
			}
			if err == nil && resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
		})
	}
}

// TestBodyThatIsCutOff hangs up in the middle of a body: nothing is stored, and the event can be sent again.
func TestBodyThatIsCutOff(t *testing.T) {
	t.Parallel()
	in := newIntake(t)
	ev := in.p.next()
	for _, cut := range []int{0, 1, len(ev.body) / 2, len(ev.body) - 1} {
		conn := in.dial(t)
		request := head(ev.body, fmt.Sprintf("Content-Length: %d", len(ev.body))) + string(ev.body[:cut])
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if !in.p.send(t.Context(), ev) {
		t.Fatal("not accepted")
	}
	in.u.awaitAll(in.p, 10*time.Second)
	in.s.stop()
	closeBooks(t, in.s, in.p, in.u)
}

// TestPipelinedRequests writes several requests before it reads the first answer: each gets its own, in order.
func TestPipelinedRequests(t *testing.T) {
	t.Parallel()
	in := newIntake(t)
	var requests strings.Builder
	var want []int
	for i := range 10 {
		ev := in.p.next()
		signed := ev.body
		if i%3 == 1 {
			signed, want = nil, append(want, http.StatusUnauthorized)
		} else {
			in.p.acknowledge(ev)
			want = append(want, http.StatusOK)
		}
		requests.WriteString(head(signed, fmt.Sprintf("Content-Length: %d", len(ev.body))) + string(ev.body))
	}
	conn := in.dial(t)
	if _, err := io.WriteString(conn, requests.String()); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	for i := range want {
		if got := answer(t, reader).StatusCode; got != want[i] {
			t.Errorf("answer %d is %d, want %d", i, got, want[i])
		}
	}
	in.u.awaitAll(in.p, 10*time.Second)
	if n := in.u.requests(); n != in.p.acked() {
		t.Errorf("%d requests reached the app, %d were accepted", n, in.p.acked())
	}
}
