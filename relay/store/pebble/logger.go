// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// logger is what Pebble logs to.
type logger struct {
	zap     *zap.Logger
	failure *failure
	rot     *rot
}

// Infof logs what Pebble does all day.
func (l *logger) Infof(format string, args ...any) {
	if l.zap.Core().Enabled(zap.DebugLevel) {
		l.zap.Debug(oneLine(format, args))
	}
}

// Errorf logs an error that Pebble goes on after.
func (l *logger) Errorf(format string, args ...any) { l.zap.Error(oneLine(format, args)) }

// Fatalf fails the store. Pebble relies on it not to return, and it may not end
// the process, which is not ours: so it stays here, with all locks it has.
func (l *logger) Fatalf(format string, args ...any) {
	l.failure.fail(errors.New(oneLine(format, args)))
	park()
}

func oneLine(format string, args []any) string {
	first, _, _ := strings.Cut(fmt.Sprintf(format, args...), "\n")
	return first
}

// listener returns what hears of Pebble's background work. Errors of writing
// have come by the fence before; what is left is logged.
func (l *logger) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			l.zap.Warn("background work of the store", zap.Error(err))
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			l.zap.Error("stored data is corrupt", zap.String("path", info.Path), zap.Error(info.Details))
		},
		BlobFileRewriteBegin: l.rot.begin,
		BlobFileRewriteEnd:   l.rot.end,
		BlobFileDeleted:      l.rot.deleted,
		DiskSlow:             l.diskSlow,
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			l.zap.Warn("store waits for the disk", zap.String("reason", info.Reason))
		},
	}
}

func (l *logger) diskSlow(info vfs.DiskSlowInfo) {
	l.zap.Warn("disk is slow", zap.String("path", info.Path), zap.Stringer("operation", info.OpType), zap.Duration("since", info.Duration))
}
