// SPDX-License-Identifier: Apache-2.0

package pebble_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// holdEnv makes the test binary a process that holds the store it names.
const holdEnv = "RELAY_TEST_HOLD_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdEnv); dir != "" {
		hold(dir)
	}
	os.Exit(m.Run())
}

// hold opens a store, says so, and keeps it until its input ends.
func hold(dir string) {
	s, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open")
	_, _ = os.Stdin.Read(make([]byte, 1))
	_ = s.Close()
	os.Exit(0)
}

func TestSecondOpenNamesTheHolder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, pebble.Options{})
	_, err := pebble.Open(dir, pebble.Options{LockWait: -1})
	checkLocked(t, err, dir, os.Getpid())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir, pebble.Options{LockWait: -1}).Close(); err != nil {
		t.Fatal(err)
	}
}

func checkLocked(t *testing.T, err error, dir string, pid int) {
	t.Helper()
	if !errors.Is(err, store.ErrLocked) {
		t.Fatalf("Open of a store that is open: %v", err)
	}
	for _, part := range []string{dir, fmt.Sprintf("process %d ", pid), "caddy reload"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestOtherProcessIsWaitedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	if n, err := out.Read(line); string(line[:n]) != "open\n" {
		t.Fatalf("holder: %q, %v", line[:n], err)
	}
	core, logs := observer.New(zap.WarnLevel)
	_, err = pebble.Open(dir, pebble.Options{LockWait: 120 * time.Millisecond, Logger: zap.New(core)})
	checkLocked(t, err, dir, cmd.Process.Pid)
	if !strings.HasPrefix(err.Error(), store.ErrLocked.Error()) {
		t.Errorf("error %q says twice that a store is opened", err)
	}
	says := fmt.Sprintf("store is held by process %d on ", cmd.Process.Pid)
	if all := logs.All(); len(all) != 1 || !strings.HasPrefix(all[0].Message, says) || !strings.HasSuffix(all[0].Message, "; waiting up to 120ms") {
		t.Errorf("waiting logged %+v", all)
	}
	go func() { _ = in.Close() }()
	s := open(t, dir, pebble.Options{LockWait: patience})
	if err := errors.Join(s.Close(), cmd.Wait()); err != nil {
		t.Error(err)
	}
}

func TestRefusedDirectoryIsExplained(t *testing.T) {
	if runtime.GOOS == "windows" || os.Getuid() == 0 {
		t.Skip("nothing is refused to this user")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := pebble.Open(filepath.Join(dir, "store"), pebble.Options{})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "user ") || !strings.Contains(err.Error(), dir) {
		t.Errorf("Open: %v", err)
	}
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for range 3 {
		dir := t.TempDir()
		s := open(t, dir, pebble.Options{MemTableSize: 256 << 10})
		for i := range 200 {
			if _, err := accept(s, sized(i)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Purge(t.Context(), store.PurgeRequest{Finished: time.Nanosecond}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := pebble.Open(filepath.Join(dir, "CURRENT", string(rune(0))), pebble.Options{}); err == nil {
			t.Fatal("opened an impossible path")
		}
	}
}
