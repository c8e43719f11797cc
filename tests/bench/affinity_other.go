// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"os/exec"
)

// allowedCores returns nil: there is no pinning on this system.
func allowedCores() []int { return nil }

func pinSelf([]int) error { return nil }

func startPinned(cmd *exec.Cmd, _ []int) error { return cmd.Start() }
