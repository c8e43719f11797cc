// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay"
)

// booksTime bounds how long the books may take to be read.
const booksTime = 5 * time.Second

// warnOrphans tells of deliveries that no relay of this configuration makes.
// They stay in the store until one does.
func (a *App) warnOrphans() {
	ctx, cancel := context.WithTimeout(context.Background(), booksTime)
	defer cancel()
	books, err := a.engine.Books(ctx)
	if err != nil {
		a.log.Warn("reading the books", zap.Error(err))
		return
	}
	for _, id := range slices.Sorted(maps.Keys(books)) {
		if books[id].Open == 0 || serves(a.generation, id) {
			continue
		}
		a.log.Warn("deliveries wait for a destination that is not in the configuration; they are kept, and go on when a relay and destination of these names are back",
			zap.String("destination", id), zap.Uint64("open", books[id].Open))
	}
}

// serves reports whether a generation has the destination.
func serves(g *relay.Generation, id string) bool {
	return slices.ContainsFunc(g.Destinations, func(d relay.Destination) bool { return d.ID == id })
}
