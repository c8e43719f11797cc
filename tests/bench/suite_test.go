// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// These tests run the suite against a stand-in for the gateway: this test program, started again as a process
// that obeys the same Caddyfile. It stores what it accepts in a file, unsynced, and so can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "sink" {
		if err := sinkMain(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 3 && os.Args[1] == "run" {
		fmt.Fprintln(os.Stderr, serveStandIn(os.Args[3]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	testBody = 512
	loseEnv  = "BENCH_STAND_IN_LOSES" // the number of the event that the stand-in accepts and never delivers
)

type standIn struct {
	upstream string
	loses    string
	mu       sync.Mutex
	store    *os.File
	queue    chan []byte
}

func serveStandIn(caddyfile string) error {
	config, err := os.ReadFile(caddyfile)
	if err != nil {
		return err
	}
	addr := regexp.MustCompile(`http://(\S+) \{`).FindSubmatch(config)
	upstream := regexp.MustCompile(`reverse_proxy (\S+) \{`).FindSubmatch(config)
	store := regexp.MustCompile(`store pebble (\S+)`).FindSubmatch(config)
	if addr == nil || upstream == nil || store == nil {
		return errors.New("the Caddyfile lacks an address, an upstream or a store")
	}
	kept, err := os.ReadFile(string(store[1]))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s := &standIn{upstream: "http://" + string(upstream[1]), loses: os.Getenv(loseEnv), queue: make(chan []byte, 1<<20)}
	if s.store, err = os.OpenFile(string(store[1]), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	for ; len(kept) >= testBody; kept = kept[testBody:] {
		s.queue <- kept[:testBody]
	}
	for range 8 {
		go s.deliver()
	}
	return http.ListenAndServe(string(addr[1]), s)
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	timestamp, signature, _ := strings.Cut(strings.TrimPrefix(r.Header.Get(signatureHeader), "t="), ",v1=")
	want := appendSignature(nil, hmac.New(sha256.New, []byte(signingSecret)), timestamp, body)
	if err != nil || signature != string(want) || r.URL.Path != "/stripe" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	_, err = s.store.Write(body)
	s.mu.Unlock()
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	s.queue <- body
}

func (s *standIn) deliver() {
	for body := range s.queue {
		if s.loses != "" && bytes.Contains(body, []byte(s.loses+`"`)) {
			continue
		}
		resp, err := http.Post(s.upstream+"/stripe", "application/json", bytes.NewReader(body))
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
}

func newTestSuite(t *testing.T) *suite {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{
		options: options{
			connections: 4, bodySize: testBody, events: 300, rate: 1000, messages: 500, idleConns: 8,
			duration: 200 * time.Millisecond, warmup: 50 * time.Millisecond, patience: 2 * time.Second,
		},
		cores:  cores{ServerCount: 1, GeneratorCount: 1, SinkCount: 1},
		binary: self,
		dir:    t.TempDir(),
	}
	if s.sinkProcess, err = startSink(t.Context(), s.cores); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.sinkProcess.crash)
	s.sink = sinkClient{s.sinkProcess.addr}
	return s
}

func TestEndToEndCountsWhatArrived(t *testing.T) {
	f, err := newTestSuite(t).throughput(t.Context(), kindEndToEnd)
	if err != nil {
		t.Fatal(err)
	}
	if f.Events != 300 || f.EventsPerSecond <= 0 || f.AcksPerSecond <= 0 || f.AckP50 <= 0 || f.AckP99 < f.AckP50 {
		t.Errorf("%+v", f)
	}
}

func TestAcceptNeedsNoUpstream(t *testing.T) {
	f, err := newTestSuite(t).throughput(t.Context(), kindAccept)
	if err != nil {
		t.Fatal(err)
	}
	if f.Events != 300 || f.EventsPerSecond <= 0 {
		t.Errorf("%+v", f)
	}
}

func TestRunThatLosesAnEventIsVoid(t *testing.T) {
	s := newTestSuite(t)
	s.patience = 300 * time.Millisecond
	t.Setenv(loseEnv, "000000299") // past the end of the second's warm-up of the open loop, within its measured part
	s.rate, s.duration = 200, 1500*time.Millisecond
	l, err := s.latency(t.Context(), kindEndToEnd)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(l.Void, "299 of 300 events have arrived") {
		t.Errorf("void: %q", l.Void)
	}
}

func TestLatencyIsFromSendToArrival(t *testing.T) {
	l, err := newTestSuite(t).latency(t.Context(), kindEndToEnd)
	if err != nil {
		t.Fatal(err)
	}
	if l.Events != 200 || l.ArrivalP50 <= 0 || l.ArrivalP99 < l.ArrivalP50 || l.ArrivalP99 > 5000 {
		t.Errorf("%+v", l)
	}
}

func TestBacklogIsDrainedAfterKill(t *testing.T) {
	f, err := newTestSuite(t).runBacklog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f.Messages != 500 || f.MissingMessages != 0 || f.Duplicates != 0 || f.Ready <= 0 || f.DrainPerSecond <= 0 || f.SeedPerSecond <= 0 {
		t.Errorf("%+v", f)
	}
}

func TestServerThatFailsToStartShowsItsLog(t *testing.T) {
	s := newTestSuite(t)
	_, err := s.throughput(t.Context(), kindRespond)
	if err == nil || !strings.Contains(err.Error(), "lacks an address, an upstream or a store") {
		t.Errorf("error %v", err)
	}
}

func TestCaddyfiles(t *testing.T) {
	tuned := upstreamConfig{addr: "127.0.0.1:9", idle: 512}
	got := caddyfile(kindEndToEnd, "/tmp/x", tuned, "timeout 1h")("127.0.0.1:80")
	want := `{
	admin off
	auto_https off
	persist_config off
	relay {
		store pebble ` + filepath.Join("/tmp/x", "store") + `
	}
}
http://127.0.0.1:80 {
	bind 127.0.0.1
	relay /stripe {
		verify stripe ` + signingSecret + `
		timeout 1h
		forward {
			reverse_proxy 127.0.0.1:9 {
				transport http {
					keepalive_idle_conns_per_host 512
				}
			}
		}
	}
}
`
	if got != want {
		t.Errorf("Caddyfile\n%s\nwant\n%s", got, want)
	}
	plain := caddyfile(kindProxy, "", upstreamConfig{addr: "127.0.0.1:9", defaults: true})("127.0.0.1:80")
	if !strings.Contains(plain, "\treverse_proxy /stripe 127.0.0.1:9\n") || strings.Contains(plain, "relay") {
		t.Errorf("plain Caddyfile\n%s", plain)
	}
}
