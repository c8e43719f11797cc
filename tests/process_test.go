// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// server is a Caddy process with directories and an admin address of its own. It can be started again after it has
// ended and finds its store as it left it.
type server struct {
	t     testing.TB
	dir   string
	admin string
	store string
	log   string

	// wrapper is a command that is to run the binary, with its arguments; nil for
	// none. It has to become the process, or its parent be somebody else.
	wrapper []string

	cmd    *exec.Cmd
	begun  int64 // where the log of this process begins
	exited chan struct{}
}

// newServer returns a server that does not run yet. It is killed when the test ends, and its log is shown when the
// test has failed.
func newServer(t testing.TB) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{
		t: t, dir: dir, admin: freeAddress(t),
		store: filepath.Join(dir, "store"), log: filepath.Join(dir, "log"),
	}
	t.Cleanup(func() {
		if s.running() {
			s.kill()
		}
		for _, text := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if s.cmd != nil && s.logged(text) {
				t.Errorf("the process says %q", text)
			}
		}
		if t.Failed() {
			t.Logf("the log of %s ends with:\n%s", s.admin, s.logTail())
		}
	})
	return s
}

// caddyfile returns a Caddyfile of the sites. Options go into the global block, those that begin with "relay:" into
// the relay's block in it.
func (s *server) caddyfile(sites string, options ...string) string {
	relay := []string{"store pebble " + filepath.ToSlash(s.store)}
	if !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "relay:min_free ") }) {
		// So that what is seen is not how it copes with the disk of this machine.
		relay = append(relay, "min_free 64MiB")
	}
	var global []string
	for _, o := range options {
		if option, ok := strings.CutPrefix(o, "relay:"); ok {
			relay = append(relay, option)
		} else {
			global = append(global, o)
		}
	}
	global = append(global, "relay {\n\t\t"+strings.Join(relay, "\n\t\t")+"\n\t}")
	return s.plainfile(sites, global...)
}

// plainfile returns a Caddyfile without anything of the relay in it but what is in the sites.
func (s *server) plainfile(sites string, options ...string) string {
	global := append([]string{"admin " + s.admin, "default_bind 127.0.0.1", "skip_install_trust", "persist_config off"}, options...)
	return "{\n\t" + strings.Join(global, "\n\t") + "\n}\n" + sites
}

// command returns a command of the binary in the server's environment.
func (s *server) command(args ...string) *exec.Cmd {
	line := append(append(slices.Clone(s.wrapper), caddyBinary(s.t)), args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	return cmd
}

// start starts the process with a Caddyfile and does not wait for it; see awaitReady.
func (s *server) start(caddyfile string) {
	s.t.Helper()
	path := filepath.Join(s.dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
		s.t.Fatal(err)
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	if s.begun, err = log.Seek(0, io.SeekEnd); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.command("run", "--config", path, "--adapter", "caddyfile")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("starting Caddy: %v", err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	s.cmd, s.exited = cmd, exited
}

// run starts the process and waits until addr takes connections.
func (s *server) run(caddyfile, addr string) {
	s.t.Helper()
	s.start(caddyfile)
	s.awaitReady(addr)
}

// awaitReady waits until addr takes connections, and fails the test when the process ends before that.
func (s *server) awaitReady(addr string) {
	s.t.Helper()
	eventually(s.t, 30*time.Second, "Caddy listens on "+addr, func() bool {
		if !s.running() {
			s.t.Fatal("Caddy ended at start")
		}
		return listening(addr)
	})
}

// awaitConfiguration waits until the configuration that the process was started with is the one that runs, if the process
// does: its listeners, the admin endpoint's among them, are there a moment earlier.
func (s *server) awaitConfiguration() {
	s.t.Helper()
	eventually(s.t, 30*time.Second, "the configuration runs", func() bool {
		if !s.running() {
			return true
		}
		content, err := os.ReadFile(s.log)
		if err != nil {
			s.t.Fatal(err)
		}
		return bytes.Contains(content[s.begun:], []byte("serving initial configuration"))
	})
}

func listening(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func (s *server) running() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// kill ends the process as a crash would and returns when that was.
func (s *server) kill() crash {
	from := time.Now()
	_ = s.cmd.Process.Kill()
	<-s.exited
	return crash{from: from, to: time.Now()}
}

// stop asks the process to end and waits for it.
func (s *server) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil && s.running() {
		_ = s.postAdmin("/stop", "") // a system without signals
	}
	s.awaitExit(30 * time.Second)
}

// awaitExit waits for the end of the process and returns its exit code.
func (s *server) awaitExit(within time.Duration) int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(within):
		s.t.Fatalf("Caddy still runs %s later", within)
	}
	return s.cmd.ProcessState.ExitCode()
}

// load gives the running process another Caddyfile and returns the error that it answers with, nil for none. The
// configuration is loaded even when it has not changed.
func (s *server) load(caddyfile string) error {
	s.t.Helper()
	return s.postAdmin("/load", caddyfile)
}

// postAdmin posts to the admin endpoint and returns the error that it answers with, nil for none. Each load replaces the
// endpoint, and a connection that has come to the one before is reset where that has not taken it yet: so what is reset is
// posted once more.
func (s *server) postAdmin(path, body string) error {
	s.t.Helper()
	resp, err := s.tryAdmin(path, body)
	if errors.Is(err, syscall.ECONNRESET) {
		resp, err = s.tryAdmin(path, body)
	}
	if err != nil {
		s.t.Fatalf("posting to the admin endpoint: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return errors.New(string(answer))
	}
	return nil
}

// tryAdmin posts to the admin endpoint once.
func (s *server) tryAdmin(path, body string) (*http.Response, error) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+s.admin+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate")
	req.Close = true // the connections of the endpoint are replaced with it
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}
	return client.Do(req)
}

// mustLoad is load for configurations that have to be taken.
func (s *server) mustLoad(caddyfile string) {
	s.t.Helper()
	if err := s.load(caddyfile); err != nil {
		s.t.Fatalf("a good configuration was refused: %v", err)
	}
}

// adminGet returns what the admin endpoint answers at path.
func (s *server) adminGet(path string) []byte {
	s.t.Helper()
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.admin + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return body
}

// metric returns the value of a metric with its labels, 0 for one that is not there.
func (s *server) metric(name string) float64 {
	s.t.Helper()
	for line := range strings.Lines(string(s.adminGet("/metrics"))) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return value
		}
	}
	return 0
}

// logged reports whether a line of the log contains all of the texts.
func (s *server) logged(texts ...string) bool {
	content, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range bytes.Lines(content) {
		found := true
		for _, text := range texts {
			found = found && bytes.Contains(line, []byte(text))
		}
		if found {
			return true
		}
	}
	return false
}

func (s *server) logTail() string {
	const limit = 6000
	content, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-limit):])
}
