// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// TestNothingIsRewrittenAfterProcessesHaveEndedOverIt opens a store again and again
// whose process ends in the midst of it.
func TestNothingIsRewrittenAfterProcessesHaveEndedOverIt(t *testing.T) {
	fs := vfs.NewMem()
	again := func() *rot {
		r := newRot("", fs, newFence(fs, func(error) {}, func() bool { return false }), zap.NewNop())
		r.load()
		return r
	}
	for range 2 * maxStrikes { // most rewrites go well
		r := again()
		r.begin()
		r.end()
	}
	for strike := range maxStrikes {
		r := again()
		if r.found.Load() {
			t.Errorf("nothing is rewritten any more after %d strikes", strike)
		}
		r.begin()
	}
	for range 2 {
		r := again()
		if !r.found.Load() {
			t.Fatal("a file is rewritten that has ended so many processes")
		}
		r.end() // of one that was begun before
	}
	fs = vfs.NewMem()
	again().see()
	if !again().found.Load() {
		t.Error("what was found to be corrupt is forgotten")
	}
}
