// SPDX-License-Identifier: Apache-2.0

// Package modules tests what is a module of its own and what go test ./... in the root therefore passes by.
package modules

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestSubmodules runs the tests of the load generator, and those of the providers' libraries that relay/scheme has to agree with.
// go vet has a step of its own in .ci/run: to vet a dozen providers' libraries takes longer than to compile them.
func TestSubmodules(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out the modules of their own: tests/sdk compiles the libraries of a dozen providers")
	}
	noteFiles(t, filepath.Join("..", "..", "relay", "scheme"))
	for _, module := range []string{"bench", "sdk"} {
		t.Run(module, func(t *testing.T) {
			noteFiles(t, filepath.Join("..", module))
			runGo(t, module, "test", "-vet=off", "-timeout", "3m", "./...")
		})
	}
}

// noteFiles looks at all files of a directory. The go command keeps the result of a test until a file that the test itself has
// looked at changes; those that another process reads do not count.
func noteFiles(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error { return err })
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
	cmd.Dir = filepath.Join("..", module)
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %v in tests/%s: %v\n%s", args, module, err, out)
	}
}
