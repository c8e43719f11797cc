// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// redacted is what every form of a resolved secret prints.
const redacted = "REDACTED"

// weakSecret is the length in bytes under which a secret is warned about.
const weakSecret = 16

// secret is the bytes of a secret after its placeholders have been resolved.
// However it is printed, it does not show them.
type secret struct{ bytes []byte }

// Format prints that there is a secret, whatever the verb.
func (secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns a fixed text.
func (secret) String() string { return redacted }

// GoString returns a fixed text.
func (secret) GoString() string { return redacted }

// MarshalJSON returns a fixed text.
func (secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// errNoSecret is what is left of a {$VAR} that was not set.
var errNoSecret = errors.New("no secret. A {$VAR} that is not set expands to nothing when the Caddyfile is read; write {env.NAME} or {file./absolute/path}")

// errUnclosed is a placeholder that lacks its end.
var errUnclosed = errors.New("a placeholder in it lacks its closing brace: write {env.NAME} or {file./absolute/path}")

// resolveSecret resolves the placeholders of one secret. Its errors name the
// placeholder and the remedy, never the secret.
func resolveSecret(text string) (secret, error) {
	if text == "" {
		return secret{}, errNoSecret
	}
	if rest := placeholder.ReplaceAllString(text, ""); strings.Contains(rest, "{env.") || strings.Contains(rest, "{file.") {
		return secret{}, errUnclosed
	}
	value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return secret{}, unresolved(text)
	}
	if path, ok := filePlaceholder(text); ok {
		value = strings.TrimRight(value, "\r\n")
		if strings.TrimSpace(value) == "" {
			return secret{}, emptyFile(path)
		}
	}
	if strings.TrimSpace(value) == "" {
		return secret{}, unresolved(text)
	}
	return secret{[]byte(value)}, nil
}

// withoutSecretsVariable is the environment variable that lets a configuration be
// checked where its secrets are not.
const withoutSecretsVariable = "RELAY_VALIDATE_WITHOUT_SECRETS"

// withoutSecrets reports whether secrets that are not there are warned about
// instead of being an error.
func withoutSecrets() bool { return os.Getenv(withoutSecretsVariable) == "1" }

// secretText is a secret as it is configured, with the value that it has now.
type secretText struct {
	text  string
	value secret
	file  *watchedSecret // nil where nothing of it can change
}

// newSecretText resolves a secret. One that is returned must be released.
func newSecretText(text string, now time.Time) (*secretText, error) {
	paths := filePaths(text)
	if len(paths) == 0 {
		value, err := resolveSecret(text)
		return &secretText{text: text, value: value}, err
	}
	for _, path := range paths {
		if !filepath.IsAbs(path) && !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("the path in {file.%s} is not absolute, so that it would depend on where Caddy is started. Write {file./etc/caddy/%[1]s}", shown(path))
		}
	}
	file, err := watchSecret(text, now)
	return &secretText{text: text, file: file}, err
}

// values returns what verifies now, what did before within the overlap, when the
// next of that ends, and a number that grows with each change.
func (t *secretText) values(now time.Time, overlap time.Duration) (current secret, former []secret, until time.Time, version uint64) {
	if t.file == nil {
		return t.value, nil, time.Time{}, 0
	}
	return t.file.values(now, overlap)
}

// release stops following the files. It is called once.
func (t *secretText) release() {
	if t.file != nil {
		t.file.drop()
	}
}

// pemBlocks divides a text into the keys and certificates in it. A text with none
// stays whole, for the scheme to complain about.
func pemBlocks(text []byte) [][]byte {
	var blocks [][]byte
	for rest := text; ; {
		start := bytes.Index(rest, []byte("-----BEGIN"))
		if start < 0 {
			break
		}
		rest = rest[start:]
		end := bytes.Index(rest[1:], []byte("-----BEGIN"))
		if end < 0 {
			blocks = append(blocks, rest)
			break
		}
		blocks = append(blocks, rest[:end+1])
		rest = rest[end+1:]
	}
	if blocks == nil {
		return [][]byte{text}
	}
	return blocks
}

var placeholder = regexp.MustCompile(`\{([^{}]+)\}`)

// filePlaceholder returns the path of a secret that is one {file.*} and nothing
// else.
func filePlaceholder(text string) (string, bool) {
	inner, ok := strings.CutPrefix(text, "{file.")
	if !ok || !strings.HasSuffix(inner, "}") || strings.ContainsAny(inner[:len(inner)-1], "{}") {
		return "", false
	}
	return inner[:len(inner)-1], true
}

// unresolved says which placeholder of a secret has no value, and what to do.
func unresolved(text string) error {
	repl := caddy.NewReplacer()
	for _, match := range placeholder.FindAllStringSubmatch(text, -1) {
		key := match[1]
		value, _ := repl.GetString(key)
		if value != "" {
			continue
		}
		switch {
		case strings.HasPrefix(key, "env."):
			return fmt.Errorf("{%s} is empty. Environment is read when Caddy starts: restart it (a reload is not enough), or keep the secret in a file: {file./etc/caddy/%s.secret}",
				key, strings.ToLower(strings.TrimPrefix(key, "env.")))
		case strings.HasPrefix(key, "file."):
			return emptyFile(strings.TrimPrefix(key, "file."))
		case strings.HasPrefix(key, "http.request.uri.path.file."):
			return fmt.Errorf("{file.%s} means a part of the request's path in a site block. Write the absolute path of the file: {file./etc/caddy/%[1]s}",
				shown(strings.TrimPrefix(key, "http.request.uri.path.file.")))
		case strings.HasPrefix(key, "http."):
			return fmt.Errorf("{%s} is known only while a request is served. A secret comes from {env.NAME} or {file./absolute/path}", key)
		}
	}
	if placeholder.MatchString(text) {
		return errors.New("it holds an unknown placeholder. A secret comes from {env.NAME} or {file./absolute/path}; write \\{ for a brace that belongs to it")
	}
	return errNoSecret
}

// emptyFile says why no secret could be read from a file.
func emptyFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading {file.%s}: %w (Caddy runs as user id %d)", path, err, os.Getuid())
	}
	_ = file.Close()
	return fmt.Errorf("{file.%s} is empty: write the secret into the file", path)
}

// inline reports whether a secret is written out in the configuration.
func inline(text string) bool { return !placeholder.MatchString(text) }

// fromEnvironment reports whether a secret comes from the environment.
func fromEnvironment(text string) bool { return strings.Contains(text, "{env.") }

// printsEnvironment reports whether this process was told to print its
// environment at start, as the systemd unit of Caddy tells it to.
func printsEnvironment(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		return arg == "--environ" || arg == "-environ" || arg == "-e" || strings.HasPrefix(arg, "--environ=")
	})
}
