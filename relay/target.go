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
	// log is for what may happen all the time. It is sampled, for each destination
	// by itself, so that one that fails can not crowd out what is said about the
	// others.
	log *zap.Logger
	// alert is for what an operator must not miss.
	alert *zap.Logger
}

func newTarget(d Destination, log *zap.Logger) *target {
	if d.Timeout <= 0 {
		d.Timeout = DefaultTimeout
	}
	if d.MaxInFlight <= 0 {
		d.MaxInFlight = DefaultMaxInFlight
	}
	if d.Retry.Policy == nil {
		byDefault := retry.Default()
		d.Retry.Policy = byDefault.Policy
		if d.Retry.Never == nil {
			d.Retry.Never = byDefault.Never
		}
	}
	log = log.With(zap.String("destination", d.ID))
	sampled := log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, 10*time.Second, 5, 1000)
	}))
	return &target{Destination: d, log: sampled, alert: log}
}
