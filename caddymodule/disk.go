// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

// What may happen when the store has failed.
const (
	failureDegrade = "degrade"
	failureExit    = "exit"
)

// leastDisk is what a store takes in any case: its log, and what that is written
// to.
const leastDisk = 256 << 20

// mostFreePercent bounds the part of the volume that may be kept free.
const mostFreePercent = 90

// checkDisk reports options about the disk that make no sense.
func (a *App) checkDisk() error {
	switch {
	case a.MaxDisk != 0 && a.MaxDisk < leastDisk:
		return errLeastDisk
	case a.MinFree < 0:
		return fmt.Errorf("min_free must not be negative")
	case a.MinFreePercent < 0 || a.MinFreePercent > mostFreePercent:
		return fmt.Errorf("min_free: %v%% of the volume is no part that can be kept free: it is over 0 and at most 90", a.MinFreePercent)
	case a.MinFree > 0 && a.MinFreePercent > 0:
		return fmt.Errorf("min_free and min_free_percent exclude each other")
	case a.OnStorageFailure != "" && !slices.Contains([]string{failureDegrade, failureExit}, a.OnStorageFailure):
		return fmt.Errorf("on_storage_failure: '%s' is neither degrade nor exit", a.OnStorageFailure)
	}
	return nil
}

// exit ends the process, since the store has failed. What was accepted is on
// disk, and a supervisor starts Caddy again; an orderly stop would wait for
// requests that can only be refused.
func (a *App) exit(err error) {
	a.log.Error("store has failed: ending the process, as on_storage_failure says", zap.Error(err), zap.Int("exit_code", caddy.ExitCodeFailedQuit))
	_ = a.log.Sync()
	os.Exit(caddy.ExitCodeFailedQuit)
}

// parseMaxDisk reads max_disk.
func (a *App) parseMaxDisk(d *caddyfile.Dispenser) (err error) {
	if a.MaxDisk, err = parseSize(d); err == nil && a.MaxDisk < leastDisk {
		return d.WrapErr(errLeastDisk)
	}
	return err
}

// parseMinFree reads min_free, as a size or as a part of the volume.
func (a *App) parseMinFree(d *caddyfile.Dispenser) (err error) {
	var text string
	if !d.AllArgs(&text) {
		return d.Err("min_free takes one size or percentage, as in min_free 1GiB or min_free 5%")
	}
	number, percent := strings.CutSuffix(text, "%")
	if !percent {
		a.MinFree, err = size(d, text)
		return err
	}
	a.MinFreePercent, err = strconv.ParseFloat(number, 64)
	if err != nil || !(a.MinFreePercent > 0 && a.MinFreePercent <= mostFreePercent) {
		return d.Errf("min_free: '%s' is no part of the volume that can be kept free: it is over 0%% and at most 90%%", text)
	}
	return nil
}

// parseStorageFailure reads on_storage_failure.
func (a *App) parseStorageFailure(d *caddyfile.Dispenser) error {
	if !d.AllArgs(&a.OnStorageFailure) || a.OnStorageFailure != failureDegrade && a.OnStorageFailure != failureExit {
		return d.Err("on_storage_failure takes one word: degrade or exit")
	}
	return nil
}
