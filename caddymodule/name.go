// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
)

// defaultName is the name of a source whose matcher has no path, and of the
// destination of a relay that names none.
const defaultName = "default"

// maxName bounds the names of sources and destinations, in bytes.
const maxName = 128

// checkName reports what is wrong with the name of a source or destination.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a name can not be empty")
	case len(name) > maxName:
		return fmt.Errorf("the name '%.20s...' has %d bytes, the limit is %d", name, len(name), maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("the name %q holds bytes that are not printable", name)
	case strings.Contains(name, ":"):
		return fmt.Errorf("the name '%s' holds a colon, which stands between the names of source and destination", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("the name '%s' begins or ends with a space", name)
	}
	return nil
}

// nameFromMatcher returns the name of a source that is given none: the path of
// its matcher without the slashes and stars at its ends.
func nameFromMatcher(matcher caddy.ModuleMap) string {
	var paths []string
	if json.Unmarshal(matcher["path"], &paths) != nil || len(paths) != 1 {
		return defaultName
	}
	name := strings.Trim(paths[0], "/*")
	if name == "" {
		return defaultName
	}
	return name
}
