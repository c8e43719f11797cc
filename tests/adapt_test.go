// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-relay/caddy-relay/caddymodule"
)

var update = flag.Bool("update", false, "write the JSON that the Caddyfiles in adapt are turned into")

// separator stands between a Caddyfile and what comes of it.
const separator = "\n----------\n"

// TestAdapt turns each Caddyfile of adapt into JSON and compares it with what is
// below the line: the JSON, or a part of the error text. In files that begin with
// provision_ the error is that of loading the JSON.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in adapt: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			content = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
			input, want, found := strings.Cut(string(content), separator)
			if !found {
				t.Fatalf("no line %q", strings.TrimSpace(separator))
			}
			input, want = input+"\n", strings.TrimSpace(want)
			if formatted := string(caddyfile.Format([]byte(input))); formatted != input {
				t.Errorf("not as caddy fmt writes it:\n%s", formatted)
			}
			if strings.HasPrefix(name, "provision_") {
				checkProvision(t, input, want)
				return
			}
			checkAdapt(t, file, input, want)
		})
	}
}

// adapted turns a Caddyfile into readable JSON.
func adapted(input string) (string, error) {
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, out, "", "\t"); err != nil {
		return "", err
	}
	return pretty.String(), nil
}

func checkAdapt(t *testing.T, file, input, want string) {
	t.Helper()
	got, err := adapted(input)
	switch {
	case err != nil:
		if want == "" || want[0] == '{' || !strings.Contains(err.Error(), want) {
			t.Errorf("got the error\n%v\nwant\n%s", err, want)
		}
	case *update && (want == "" || want[0] == '{'):
		if err := os.WriteFile(file, []byte(strings.TrimSuffix(input, "\n")+separator+got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	case got != want:
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// checkProvision loads what a Caddyfile is turned into, without starting it. An
// empty want means that this succeeds.
func checkProvision(t *testing.T, input, want string) {
	t.Helper()
	text, err := adapted(input)
	if err != nil {
		t.Fatalf("adapting: %v", err)
	}
	cfg := new(caddy.Config)
	if err := json.Unmarshal([]byte(text), cfg); err != nil {
		t.Fatal(err)
	}
	err = caddy.Validate(cfg)
	if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
		t.Errorf("got the error\n%v\nwant\n%s", err, want)
	}
}
