// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// presetsFile has the lines of docs/schemes.md in one relay. TestAdapt turns it into JSON like all others.
const presetsFile = "adapt/presets.caddyfiletest"

// TestEveryPresetAdaptsAsDocumented holds that docs/schemes.md has a line for each preset, that those are what
// presetsFile is made of, and that each stands in the JSON under the name of its preset.
func TestEveryPresetAdaptsAsDocumented(t *testing.T) {
	lines := documentedLines(t)
	if names := scheme.Names(); len(names) < 100 || len(lines) != len(names) {
		t.Errorf("%d presets, %d of them documented", len(names), len(lines))
	}
	var b strings.Builder
	b.WriteString("hooks.example.com {\n\trelay localhost:9000 {\n\t\tpublic_url https://hooks.example.com\n")
	for _, name := range scheme.Names() {
		text, ok := lines[name]
		if !ok {
			t.Errorf("docs/schemes.md has no line for %s", name)
		}
		for line := range strings.Lines(strings.TrimPrefix(text, "public_url https://hooks.example.com\n")) {
			b.WriteString("\t\t" + line)
		}
	}
	b.WriteString("\t}\n}")
	content, err := os.ReadFile(presetsFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	input, _, _ := strings.Cut(strings.ReplaceAll(string(content), "\r\n", "\n"), separator)
	if input != b.String() && *update {
		content = []byte(b.String() + separator)
		if err := os.WriteFile(presetsFile, content, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if input != b.String() {
		t.Errorf("%s is not what docs/schemes.md says; run go test ./tests with -run EveryPreset -update, then with -run TestAdapt -update", presetsFile)
	}
	out, err := adapted(b.String() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range scheme.Names() {
		if want := fmt.Sprintf("\"scheme\": %q", name); strings.Count(out, want+",") != 1 && strings.Count(out, want+"\n") != 1 {
			t.Errorf("%s is not there once", name)
		}
	}
}

// TestAliasesAdaptToTheirPreset holds for the names under which providers are known elsewhere.
func TestAliasesAdaptToTheirPreset(t *testing.T) {
	lines := documentedLines(t)
	for _, name := range scheme.Names() {
		s, _ := scheme.Preset(name)
		for _, alias := range s.Aliases {
			text := strings.Replace(lines[name], "verify "+name, "verify "+alias, 1)
			out, err := adapted("hooks.example.com {\n\trelay localhost:9000 {\n" + text + "\t}\n}\n")
			if err != nil || !strings.Contains(out, fmt.Sprintf("\"scheme\": %q", name)) {
				t.Errorf("%s: %v", alias, err)
			}
		}
	}
}

// documentedLines are the parts of Caddyfiles in docs/schemes.md, by preset.
func documentedLines(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile("../docs/schemes.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]string)
	parts := strings.Split(strings.ReplaceAll(string(content), "\r\n", "\n"), "\n### ")
	for _, part := range parts[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		_, rest, found := strings.Cut(rest, "```caddyfile\n")
		text, _, _ := strings.Cut(rest, "```")
		if found && slices.Contains(scheme.Names(), name) {
			lines[name] = text
		}
	}
	return lines
}
