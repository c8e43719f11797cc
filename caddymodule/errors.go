// SPDX-License-Identifier: Apache-2.0

package caddymodule

import "errors"

// Mistakes in the configuration of a relay that are found in several places.
var (
	errNowhere = errors.New("the relay leads nowhere: give it upstreams (relay /path localhost:3000), forward, destination or pass")
	errTwoWays = errors.New("a relay leads one way: upstreams, forward and destination exclude each other. Put what each does into a destination")
	errNoRule  = errors.New("dedupe: no scheme of this relay says what makes two requests the same: name it, as in dedupe {http.relay.body.id} or dedupe body")
	errNested  = errors.New("a forward leads into a relay: deliveries can not be relayed again")

	errLeastDisk = errors.New("max_disk must be at least 256MiB: a store takes a good part of that for its log alone")
)

// What is said where a learned secret is asked for that is not there.
var (
	// errNotExpected says that no relay of the configuration expects a secret of
	// that name.
	errNotExpected = errors.New("no such secret is expected")
	// errNotLearned says that no handshake has brought the secret yet.
	errNotLearned = errors.New("no handshake has brought the secret yet")
)
