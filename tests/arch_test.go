// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// module is the path of this module.
const module = "github.com/caddy-relay/caddy-relay"

// TestArrowsPointDown holds the imports of every package, tests left out,
// against the layers of CONTRIBUTING.md.
func TestArrowsPointDown(t *testing.T) {
	imports := listImports(t)
	for _, layer := range []struct {
		packages string
		// may lists the packages of this module that these may import, themselves
		// left out.
		may []string
		// caddy says that they may import Caddy.
		caddy bool
	}{
		{"relay/journal", nil, false},
		{"relay/wire", nil, false},
		{"relay/retry", nil, false},
		{"relay/scheme", nil, false},
		{"relay/scheme/schemetest", nil, false},
		{"relay/store", nil, false},
		{"relay/store/memory", []string{"relay/store"}, false},
		{"relay/store/pebble", []string{"relay/store"}, false},
		{"relay/store/storetest", []string{"relay/store", "relay/store/memory"}, false},
		{"relay", []string{"relay/store", "relay/retry", "relay/journal"}, false},
		{"caddymodule", []string{"relay", "relay/store", "relay/retry", "relay/scheme", "relay/wire", "relay/store/memory", "relay/store/pebble"}, true},
		{"cmd/caddy", []string{"caddymodule"}, true},
	} {
		direct, ok := imports[module+"/"+layer.packages]
		if !ok {
			t.Errorf("%s: there is no such package; the layers have changed and this test has not", layer.packages)
			continue
		}
		delete(imports, module+"/"+layer.packages)
		for _, path := range direct {
			if within, ours := strings.CutPrefix(path, module+"/"); ours && !slices.Contains(layer.may, within) {
				t.Errorf("%s imports %s, which is not below it", layer.packages, within)
			}
			if strings.HasPrefix(path, "github.com/caddyserver/") && !layer.caddy {
				t.Errorf("%s imports %s; only caddymodule knows Caddy", layer.packages, path)
			}
		}
	}
	delete(imports, module)
	for _, tests := range []string{"tests", "tests/faults", "tests/modules"} {
		delete(imports, module+"/"+tests)
	}
	for path := range imports {
		t.Errorf("%s has no place among the layers; say here what it may import", path)
	}
}

// listImports returns the direct imports of all packages of the module.
func listImports(t *testing.T) map[string][]string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"/...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	imports := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		imports[fields[0]] = fields[1:]
	}
	return imports
}
