// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// errNoSource says that a source is not in the configuration and has nothing in the
// store, so that its name must be a mistake.
var errNoSource = errors.New("no such source")

// maxNamed bounds how many names an error lists.
const maxNamed = 20

// checkNames returns an error, which lists those there are, for a source or a
// destination to select by that is neither in the configuration nor in the store:
// nothing would be selected, and that could be taken for good news. Empty names
// select nothing.
func (c *call) checkNames(source, destination string) error {
	if source == "" && destination == "" {
		return nil
	}
	books, err := c.engine.Books(c.Context())
	if err != nil {
		return err
	}
	destinations, sources := make(map[string]bool), make(map[string]bool)
	for id := range books {
		destinations[id] = true
	}
	for _, d := range c.app.destinations() {
		destinations[d.id] = true
	}
	for id := range destinations {
		from, _, _ := strings.Cut(id, ":")
		sources[from] = true
	}
	for _, name := range c.app.sourceNames() {
		sources[name] = true
	}
	if source != "" && !sources[source] {
		if err := c.checkMessages(source, sources); err != nil {
			return err
		}
	}
	if destination == "" || destinations[destination] {
		return nil
	}
	pauses, err := c.engine.Pauses(c.Context())
	if _, paused := pauses[destination]; err != nil || paused {
		return err
	}
	return apiError(http.StatusNotFound, fmt.Errorf("selecting by destination %q: %w: %s", destination, relay.ErrNoDestination, thereAre(destinations)))
}

// checkMessages returns an error unless the store has a message of the source: one
// that was removed from the configuration may have some and never had a delivery.
func (c *call) checkMessages(source string, known map[string]bool) error {
	st, err := c.engine.Store()
	if err != nil {
		return err
	}
	found, err := st.ListMessages(c.Context(), store.MessageQuery{Source: source, Limit: 1})
	if err != nil || len(found) > 0 {
		return err
	}
	return apiError(http.StatusNotFound, fmt.Errorf("selecting by source %q: %w: %s", source, errNoSource, thereAre(known)))
}

// thereAre lists names.
func thereAre(names map[string]bool) string {
	all := slices.Sorted(maps.Keys(names))
	switch extra := len(all) - maxNamed; {
	case len(all) == 0:
		return "there is none yet"
	case extra > 0:
		return fmt.Sprintf("there are %s and %d more, which caddy relay stats lists", strings.Join(all[:maxNamed], ", "), extra)
	default:
		return "there are " + strings.Join(all, ", ")
	}
}
