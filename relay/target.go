// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-relay/caddy-relay/relay/retry"
)

// target is a destination in force, ready for use.
type target struct {
	Destination
	// log is the destination's own, so that one that fails all the time can not
	// crowd out what is said about the others.
	log *zap.Logger
}

func newTarget(d Destination, log *zap.Logger) *target {
	if d.Timeout <= 0 {
		d.Timeout = DefaultTimeout
	}
	if d.MaxInFlight <= 0 {
		d.MaxInFlight = DefaultMaxInFlight
	}
	if d.Retry.Policy == nil {
		d.Retry.Policy = retry.Default().Policy
	}
	sampled := log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, 10*time.Second, 5, 1000)
	}))
	return &target{Destination: d, log: sampled.With(zap.String("destination", d.ID))}
}
