// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// allowedCores returns the cores that this process may run on.
func allowedCores() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil
	}
	var cores []int
	for core := range len(set) * 64 {
		if set.IsSet(core) {
			cores = append(cores, core)
		}
	}
	return cores
}

func maskOf(cores []int) *unix.CPUSet {
	var set unix.CPUSet
	for _, core := range cores {
		set.Set(core)
	}
	return &set
}

// pinSelf moves every thread of this process to cores. Threads started later inherit it.
func pinSelf(cores []int) error {
	// A thread started by one that was not moved yet is only seen in a second reading.
	for range 2 {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("listing threads: %w", err)
		}
		for _, entry := range entries {
			id, err := strconv.Atoi(entry.Name())
			if err != nil {
				return fmt.Errorf("reading thread id: %w", err)
			}
			if err := unix.SchedSetaffinity(id, maskOf(cores)); err != nil && err != unix.ESRCH {
				return fmt.Errorf("pinning thread %d: %w", id, err)
			}
		}
	}
	return nil
}

// startPinned starts cmd on cores: the child inherits the mask of the thread that forks it, so not one of
// its instructions runs elsewhere and its runtime counts only these cores.
func startPinned(cmd *exec.Cmd, cores []int) error {
	if len(cores) == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("reading own cores: %w", err)
	}
	if err := unix.SchedSetaffinity(0, maskOf(cores)); err != nil {
		return fmt.Errorf("pinning to cores %v: %w", cores, err)
	}
	err := cmd.Start()
	if back := unix.SchedSetaffinity(0, &before); back != nil && err == nil {
		err = fmt.Errorf("returning to own cores: %w", back)
	}
	return err
}
