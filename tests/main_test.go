// SPDX-License-Identifier: Apache-2.0

// Package tests looks at the product from outside: it builds the caddy binary, runs it as a process of its own, is
// its senders and its upstreams, kills it, and then judges what was promised against what arrived.
package tests

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// cycles is how long the campaigns of this package are.
//
//	go test ./tests/                                     50: what every change has to pass
//	go test ./tests/ -timeout 3h -args -cycles 1000      before a release
//
// It is the number of kills in TestP1_KillUnderLoad and of reloads in TestP12_ReloadUnderLoad; a fifth of it is the
// number of ends in TestP12_Sigterm and of faults in TestT4_SystemCallsThatFail, a hundredth that of times that
// TestT5_FullDiskAndBack fills the disk; 2,000 times as many messages make the backlogs of TestBacklogAfterRestart and
// TestT13_AHungDestinationWithABacklogDelaysNobodyElse, up to 1,000,000. RELAY_TEST_CYCLES in the environment is its
// default, for runs over several packages. TestT4_SystemCallsThatFail has a flag of its own, -fault.calls, which makes
// it try all faults there are.
var cycles = flag.Int("cycles", cyclesFromEnvironment(), "length of the campaigns: kills, reloads, thousandths of a backlog")

func cyclesFromEnvironment() int {
	if n, err := strconv.Atoi(os.Getenv("RELAY_TEST_CYCLES")); err == nil && n > 0 {
		return n
	}
	return 50
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runIn(m))
}

// runIn runs all tests with a scratch directory for what they share.
func runIn(m *testing.M) int {
	dir, err := os.MkdirTemp("", "caddy-relay-tests-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "making the directory of the tests:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	shared.dir = dir
	return m.Run()
}

// eventually waits until cond holds and fails the test when that takes longer than within.
func eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	if !poll(within, cond) {
		t.Fatalf("not within %s: %s", within, what)
	}
}

// poll waits until cond holds and reports whether that came within the time. Processes tell nobody when they have got
// somewhere, so it has to ask again and again.
func poll(within time.Duration, cond func() bool) bool {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return cond()
		}
	}
	return true
}
