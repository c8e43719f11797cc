// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

// tick is the unit of processor time in /proc: USER_HZ is 100 on every architecture Go supports.
const tick = 10 * time.Millisecond

// cpuTime returns the processor time the process has used, user and system, and 0 on systems without /proc.
func (c *child) cpuTime() time.Duration { return cpuTimeOf(c.cmd.Process.Pid) }

func cpuTimeOf(pid int) time.Duration {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return parseCPUTime(content)
}

// parseCPUTime reads utime and stime from the text of /proc/<pid>/stat.
func parseCPUTime(stat []byte) time.Duration {
	// The second field is the program's name in parentheses and may itself hold spaces.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, errUser := strconv.ParseInt(string(fields[11]), 10, 64)
	system, errSystem := strconv.ParseInt(string(fields[12]), 10, 64)
	if errUser != nil || errSystem != nil {
		return 0
	}
	return time.Duration(user+system) * tick
}

// memory returns the resident memory now and at its peak, in bytes, and 0 on systems without /proc.
func (c *child) memory() (now, peak int64) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	return parseMemory(content, "VmRSS:"), parseMemory(content, "VmHWM:")
}

func parseMemory(status []byte, field string) int64 {
	for line := range bytes.Lines(status) {
		parts := bytes.Fields(line)
		if len(parts) == 3 && string(parts[0]) == field {
			kibibytes, err := strconv.ParseInt(string(parts[1]), 10, 64)
			if err != nil {
				return 0
			}
			return kibibytes << 10
		}
	}
	return 0
}

// busyTime returns how long the cores have not been idle since the system started, whoever used them, and 0
// on systems without /proc.
func busyTime(cores []int) time.Duration {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return parseBusyTime(content, cores)
}

// parseBusyTime adds up all but idle and iowait of the cores' lines in the text of /proc/stat.
func parseBusyTime(stat []byte, cores []int) time.Duration {
	var ticks int64
	for line := range bytes.Lines(stat) {
		fields := bytes.Fields(line)
		if len(fields) < 9 || !bytes.HasPrefix(fields[0], []byte("cpu")) {
			continue
		}
		core, err := strconv.Atoi(string(fields[0][len("cpu"):]))
		if err != nil || !slices.Contains(cores, core) {
			continue
		}
		// user nice system idle iowait irq softirq steal
		for _, field := range []int{1, 2, 3, 6, 7, 8} {
			n, err := strconv.ParseInt(string(fields[field]), 10, 64)
			if err != nil {
				return 0
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * tick
}
