// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Health is how an engine is.
type Health struct {
	// Err is nil while messages are accepted; else ErrDiskFull, or ErrNotReady or
	// ErrClosed, wrapping what the store has failed with.
	Err error

	// Disk says how much space there is.
	Disk DiskState

	// Store is how the store is, zero before the first one was opened.
	Store store.Health
}

// Health tells how the engine is. It does not wait for anything.
func (e *Engine) Health() Health {
	s, err := e.ready(expired())
	if s == nil {
		return Health{Err: err}
	}
	s.space.look()
	h := Health{Err: err, Disk: s.space.now(), Store: s.store.Health()}
	if h.Err == nil {
		h.Err = h.Store.Err
	}
	if h.Err == nil && h.Disk == DiskFull {
		h.Err = ErrDiskFull
	}
	return h
}

// Store returns the open store, for the surfaces of operators. It returns
// ErrNotReady or ErrClosed where there is none. It is valid until the engine is
// closed or the store fails.
func (e *Engine) Store() (store.Store, error) {
	s, err := e.ready(expired())
	if err != nil {
		return nil, err
	}
	return s.store, nil
}

// Books returns the books of every destination that ever had a delivery.
func (e *Engine) Books(ctx context.Context) (map[string]store.Books, error) {
	st, err := e.Store()
	if err != nil {
		return nil, err
	}
	return st.Books(ctx)
}
