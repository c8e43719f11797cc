// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"
)

// openFiles returns how many file descriptors the process holds.
func (s *server) openFiles() int {
	s.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid()))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(entries)
}

// resident returns the resident memory of the process in bytes, now and at its peak.
func (s *server) resident() (now, peak int64) {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid()))
	if err != nil {
		s.t.Fatal(err)
	}
	return kibibytes(s.t, status, "VmRSS:"), kibibytes(s.t, status, "VmHWM:")
}

func kibibytes(t testing.TB, status []byte, field string) int64 {
	for line := range bytes.Lines(status) {
		parts := bytes.Fields(line)
		if len(parts) == 3 && string(parts[0]) == field {
			n, err := strconv.ParseInt(string(parts[1]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("no %s in the status of the process", field)
	return 0
}
