// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const canary = "canary-0123456789abcdef"

func TestSecretIsNeverPrinted(t *testing.T) {
	s := secret{[]byte(canary)}
	inside := struct{ S secret }{s}
	marshaled, err := json.Marshal(inside)
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{string(marshaled)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed = append(printed, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s), fmt.Sprintf(verb, inside), fmt.Sprintf(verb, []secret{s}))
	}
	for _, text := range printed {
		if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", canary)) || strings.Contains(text, "99 97 110") {
			t.Errorf("the secret shows in %s", text)
		}
	}
}

func TestSecretResolves(t *testing.T) {
	t.Setenv("RELAY_SECRET", canary)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{canary, "{env.RELAY_SECRET}", "{file." + file + "}"} {
		got, err := resolveSecret(text)
		if err != nil || string(got.bytes) != canary {
			t.Errorf("resolveSecret(%s) = %q, %v", text, got.bytes, err)
		}
	}
}

func TestSecretThatIsMissingNamesTheRemedy(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("RELAY_SET", canary)
	for _, tc := range []struct{ text, want string }{
		{"", "A {$VAR} that is not set expands to nothing"},
		{"{env.RELAY_UNSET}", "{env.RELAY_UNSET} is empty. Environment is read when Caddy starts: restart it (a reload is not enough), or keep the secret in a file: {file./etc/caddy/relay_unset.secret}"},
		{"{env.RELAY_SET}{env.RELAY_UNSET}", "{env.RELAY_UNSET} is empty"},
		{"{file./does/not/exist}", "reading {file./does/not/exist}"},
		{"{file." + empty + "}", "is empty: write the secret into the file"},
		{"{http.request.uri.path.file.secret}", "{file.secret} means a part of the request's path"},
		{"{http.request.header.X}", "known only while a request is served"},
		{canary + "{nonsense}", "unknown placeholder"},
		{"   ", "no secret"},
	} {
		_, err := resolveSecret(tc.text)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("resolveSecret(%q): error %v, want one with %q", tc.text, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("resolveSecret(%q): the error shows the secret: %v", tc.text, err)
		}
	}
}

func TestEnvironmentThatIsPrintedIsNoticed(t *testing.T) {
	if !printsEnvironment([]string{"caddy", "run", "--environ", "--config", "x"}) {
		t.Error("--environ not noticed")
	}
	if printsEnvironment([]string{"caddy", "run", "--config", "--environment"}) {
		t.Error("--environment taken for --environ")
	}
}
