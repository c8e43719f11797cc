// SPDX-License-Identifier: Apache-2.0

// Package faults tests the tests: it breaks the product on purpose and looks whether its campaigns notice. What it breaks, and
// which campaign has to notice, is in the text files beside it.
package faults

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// root is where the module begins, seen from here.
var root = filepath.Join("..", "..")

// fault is a bug that a campaign has to find. It is a file beside this one: what is broken, which test must fail, of which package
// and with which words and flags, and then what to change in which files.
//
//	What is broken.
//	package: ./relay
//	fails: TestT7_
//	says: some words
//	args: -crash.seeds=100
//
//	--- relay/slot.go
//	the text as it stands there, whole lines or not
//	+++
//	what takes its place
type fault struct {
	what, pkg, fails, says, args string
	changes                      []change
}

// change puts one text in the place of another that occurs once in a file.
type change struct {
	file     string
	old, new string
}

// TestT7_SeededBugsAreFound breaks the product on purpose, one line at a time, and looks whether the campaign that is there for
// it notices. The broken source only ever exists as an overlay of the go command. What is not found makes the campaign void;
// what no longer fits the source has to be brought up to date with it.
func TestT7_SeededBugsAreFound(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short leaves out the seeded bugs: each of them compiles a package and runs its campaign")
	}
	files, err := filepath.Glob("*.txt")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d files of faults: %v", len(files), err)
	}
	noteFiles(t, filepath.Join(root, "relay"))
	noteFiles(t, filepath.Join(root, "go.mod"))
	// Each one uses several cores, and what is tested beside this package needs some, too.
	places := make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			f := readFault(t, file)
			overlay := f.overlay(t)
			t.Parallel()
			places <- struct{}{}
			defer func() { <-places }()
			f.mustBeFound(t, overlay)
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

// readFault reads a file of faults.
func readFault(t *testing.T, name string) *fault {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, body, ok := strings.Cut(string(text), "\n\n--- ")
	if !ok {
		t.Fatalf("%s changes nothing", name)
	}
	f := new(fault)
	for i, line := range strings.Split(head, "\n") {
		word, value, _ := strings.Cut(line, ": ")
		switch {
		case i == 0:
			f.what = line
		case word == "package":
			f.pkg = value
		case word == "fails":
			f.fails = value
		case word == "says":
			f.says = value
		case word == "args":
			f.args = value
		default:
			t.Fatalf("%s:%d: %q is no word of a fault", name, i+1, word)
		}
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(body, "\n"), "\n--- ") {
		file, texts, _ := strings.Cut(part, "\n")
		old, replacement, ok := strings.Cut(texts, "\n+++")
		if !ok || f.pkg == "" || f.fails == "" {
			t.Fatalf("%s is not whole", name)
		}
		f.changes = append(f.changes, change{file: file, old: old, new: strings.TrimPrefix(replacement, "\n")})
	}
	return f
}

// overlay writes the broken files and returns what tells the go command to take them.
func (f *fault) overlay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	replace := make(map[string]string)
	broken := make(map[string]string)
	for _, c := range f.changes {
		path, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(c.file)))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := broken[path]; !ok {
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			broken[path] = string(source)
		}
		if n := strings.Count(broken[path], c.old); n != 1 {
			t.Fatalf("the text to break occurs %d times in %s, bring the fault up to date with it:\n%s", n, c.file, c.old)
		}
		broken[path] = strings.Replace(broken[path], c.old, c.new, 1)
	}
	for path, source := range broken {
		replace[path] = filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		if err := os.WriteFile(replace[path], []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// mustBeFound runs the campaign on the broken source.
func (f *fault) mustBeFound(t *testing.T, overlay string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	started := time.Now()
	// What go vet says of broken source is not asked for: it only takes time.
	args := []string{"test", "-vet=off", "-overlay", overlay, "-count=1", "-timeout", "4m", "-run", f.fails, f.pkg}
	cmd := exec.CommandContext(ctx, "go", append(args, strings.Fields(f.args)...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	switch said := string(out); {
	case err == nil:
		t.Errorf("not found: %s", f.what)
	case !strings.Contains(said, "--- FAIL: "+f.fails) || !strings.Contains(said, f.says):
		t.Errorf("not found by %s with the words %q, but: %v\n%s", f.fails, f.says, err, out)
	default:
		t.Logf("found within %v", time.Since(started).Round(time.Millisecond))
	}
}
