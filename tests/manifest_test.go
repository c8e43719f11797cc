// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestManifestsLoad loads the Caddyfiles in the manifests for Kubernetes.
func TestManifestsLoad(t *testing.T) {
	manifests, err := filepath.Glob("../deploy/kubernetes/*.yaml")
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, manifest := range manifests {
		t.Run(filepath.Base(manifest), func(t *testing.T) {
			content, err := os.ReadFile(manifest)
			if err != nil {
				t.Fatal(err)
			}
			_, block, found := strings.Cut(string(content), "\n  Caddyfile: |\n")
			if !found {
				t.Fatal("no Caddyfile in it")
			}
			var text strings.Builder
			for line := range strings.Lines(block) {
				inner, indented := strings.CutPrefix(line, "    ")
				if !indented {
					break
				}
				text.WriteString(inner)
			}
			checkSnippet(t, text.String())
		})
	}
}
