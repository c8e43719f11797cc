// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

func TestDiskOptionsThatMakeNoSense(t *testing.T) {
	for want, app := range map[string]*App{
		"max_disk must be at least 256MiB":              {MaxDisk: 1 << 20},
		"max_disk must be at least":                     {MaxDisk: -1},
		"min_free must not be negative":                 {MinFree: -1},
		"at most 90":                                    {MinFreePercent: 91},
		"over 0":                                        {MinFreePercent: -1},
		"exclude each other":                            {MinFree: 1, MinFreePercent: 1},
		"'panic' is neither degrade nor exit":           {OnStorageFailure: "panic"},
		"on_storage_failure: 'Exit' is neither degrade": {OnStorageFailure: "Exit"},
	} {
		if err := app.checkDisk(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", app.OnStorageFailure, err, want)
		}
	}
	if err := new(App).checkDisk(); err != nil {
		t.Error(err)
	}
}

func TestAFullDiskIsARefusalOfItsOwn(t *testing.T) {
	refused := unaccepted(fmt.Errorf("accepting: %w", relay.ErrDiskFull))
	if refused.status != 503 || refused.reason != "disk_full" {
		t.Errorf("%+v", refused)
	}
}

func TestStateOfAStore(t *testing.T) {
	for want, h := range map[string]relay.Health{
		"ample":  {},
		"short":  {Disk: relay.DiskShort},
		"full":   {Disk: relay.DiskFull, Err: relay.ErrDiskFull},
		"failed": {Disk: relay.DiskFull, Store: store.Health{Err: errors.New("gone")}},
	} {
		if got := stateOf(&h); got != want {
			t.Errorf("%+v: %s, want %s", h, got, want)
		}
	}
}

func TestStoresAreMeasured(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(metrics.stores); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Gather(); err != nil {
		t.Error(err)
	}
}
