// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// snippet matches a Caddyfile in a page of documentation.
var snippet = regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$")

var (
	variable       = regexp.MustCompile(`\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b`)
	secretFromFile = regexp.MustCompile(`\{file\.(/[^}]+)\}`)
	storePath      = regexp.MustCompile(`(store pebble) /\S+`)
)

// TestDocumentedCaddyfilesLoad loads Caddyfile.example and every Caddyfile of the
// documentation, with secrets in the places where it says that they are.
func TestDocumentedCaddyfilesLoad(t *testing.T) {
	pages := []string{"../Caddyfile.example", "../README.md"}
	for _, pattern := range []string{"../docs/*.md", "../docs/*/*.md", "../deploy/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	for _, page := range pages {
		if filepath.Base(page) == "schemes.md" {
			continue // lines for a relay, see TestEveryPresetAdaptsAsDocumented
		}
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		snippets := [][]string{{"", string(content)}}
		if strings.HasSuffix(page, ".md") {
			snippets = snippet.FindAllStringSubmatch(string(content), -1)
		}
		for i, s := range snippets {
			t.Run(fmt.Sprintf("%s/%d", strings.TrimPrefix(page, "../"), i+1), func(t *testing.T) { checkSnippet(t, s[1]) })
		}
	}
}

// checkSnippet loads one Caddyfile, which may be one directive of a site, some of them, or
// a block of global options.
func checkSnippet(t *testing.T, text string) {
	if formatted := string(caddyfile.Format([]byte(text))); formatted != text {
		t.Errorf("not as caddy fmt writes it:\n%s", formatted)
	}
	if strings.HasPrefix(text, "relay ") {
		text = "localhost {\n" + text + "}\n"
	}
	for _, name := range variable.FindAllString(text, -1) {
		t.Setenv(name, "asecretthatislongenoughforbase64")
	}
	dir := t.TempDir()
	text = storePath.ReplaceAllString(text, "$1 "+filepath.ToSlash(filepath.Join(dir, "store")))
	for i, name := range secretFromFile.FindAllStringSubmatch(text, -1) {
		path := filepath.Join(dir, fmt.Sprint("secret", i))
		if err := os.WriteFile(path, []byte("asecretthatislongenoughforbase64\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		text = strings.ReplaceAll(text, name[0], "{file."+filepath.ToSlash(path)+"}")
	}
	checkProvision(t, text, "")
}
