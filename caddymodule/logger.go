// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"slices"
	"sync/atomic"

	"go.uber.org/zap/zapcore"
)

// followingCore writes to the logs of the configuration in force. An engine
// outlives configurations, whose own logs are closed with them.
type followingCore struct {
	current *atomic.Pointer[zapcore.Core]
	fields  []zapcore.Field
}

func newFollowingCore() *followingCore {
	core := &followingCore{current: new(atomic.Pointer[zapcore.Core])}
	core.follow(zapcore.NewNopCore())
	return core
}

// follow changes where everything is written from now on.
func (f *followingCore) follow(core zapcore.Core) { f.current.Store(&core) }

// Enabled implements zapcore.LevelEnabler.
func (f *followingCore) Enabled(level zapcore.Level) bool { return (*f.current.Load()).Enabled(level) }

// With implements zapcore.Core.
func (f *followingCore) With(fields []zapcore.Field) zapcore.Core {
	return &followingCore{current: f.current, fields: slices.Concat(f.fields, fields)}
}

// Check hands the entry to the core that is followed, which then is the one that
// writes it.
func (f *followingCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return f.target().Check(entry, checked)
}

// Write implements zapcore.Core.
func (f *followingCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	return f.target().Write(entry, fields)
}

// Sync implements zapcore.Core.
func (f *followingCore) Sync() error { return (*f.current.Load()).Sync() }

func (f *followingCore) target() zapcore.Core {
	core := *f.current.Load()
	if len(f.fields) == 0 {
		return core
	}
	return core.With(f.fields)
}

// Interface guard
var _ zapcore.Core = (*followingCore)(nil)
