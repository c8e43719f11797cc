// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
)

// shared is what all tests of the binary have in common.
var shared struct{ dir string }

// built is the binary under test: the one that RELAY_TEST_CADDY names, such as one built by xcaddy or with the race
// detector, or else cmd/caddy as it is in this checkout. That is built with the flags of go test itself, whose packages
// are compiled already: what else CGO_ENABLED or a tag would change means to compile Caddy once more. What ships has
// neither C nor Caddy's databases in it; .ci/run has both kinds tested.
var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("RELAY_TEST_CADDY"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(shared.dir, "caddy")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "../cmd/caddy")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building cmd/caddy: %w\n%s", err, out)
	}
	return path, nil
})

// caddyBinary returns the path of the binary under test.
func caddyBinary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// instrumented reports whether the binary under test was built with the race detector, which makes it larger and slower
// than what is promised.
func instrumented(t testing.TB) bool {
	t.Helper()
	info, err := buildinfo.ReadFile(caddyBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
