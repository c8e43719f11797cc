// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestSubmodules runs what is a module of its own and what `go test ./...` in the root therefore passes by: the load
// generator, and the providers' libraries that relay/scheme has to agree with.
func TestSubmodules(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out the modules of their own: tests/sdk compiles the libraries of a dozen providers")
	}
	for _, module := range []string{"bench", "sdk"} {
		t.Run(module, func(t *testing.T) {
			noteFiles(t, module)
			runGo(t, module, "vet", "./...")
			runGo(t, module, "test", "-timeout", "3m", "./...")
		})
	}
}

// noteFiles looks at all files of a module. The go command keeps the result of a test until a file that the test itself has
// looked at changes; those that another process reads do not count.
func noteFiles(t *testing.T, module string) {
	t.Helper()
	err := filepath.WalkDir(module, func(_ string, _ fs.DirEntry, err error) error { return err })
	if err != nil {
		t.Fatal(err)
	}
}

// runGo runs the go command in a module, apart from the flags and workspace of the root, and shows what it said if it fails.
func runGo(t *testing.T, module string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %v in tests/%s: %v\n%s", args, module, err, out)
	}
}
