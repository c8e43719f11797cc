// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"os"
	"testing"
)

// TestT14_FiveTimesOverASlowDisk is TestT14_FiveTimesOverCapacity for a server whose disk takes 100 ms for each sync.
func TestT14_FiveTimesOverASlowDisk(t *testing.T) {
	canTrace(t)
	o := &overload{
		t: t, reads: true,
		wrapper: []string{"strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", os.DevNull, "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=100000", "--"},
	}
	o.run()
}
