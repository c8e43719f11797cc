// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// failure is the end of a store that has lost its disk. It happens once.
type failure struct {
	logger *zap.Logger
	once   sync.Once
	ch     chan struct{}
	cause  error
}

func newFailure(logger *zap.Logger) *failure {
	return &failure{logger: logger, ch: make(chan struct{})}
}

// fail ends the store and releases all who wait for it. Later calls do nothing.
func (f *failure) fail(cause error) {
	f.once.Do(func() {
		f.cause = cause
		close(f.ch)
		f.logger.Error("store has failed; nothing is accepted until it has been opened again, which a restart does",
			zap.Error(cause))
	})
}

// err returns nil, or an error that wraps ErrFailed.
func (f *failure) err() error {
	select {
	case <-f.ch:
		return fmt.Errorf("%w: %w", store.ErrFailed, f.cause)
	default:
		return nil
	}
}

// happened reports whether the store has failed.
func (f *failure) happened() bool {
	select {
	case <-f.ch:
		return true
	default:
		return false
	}
}
