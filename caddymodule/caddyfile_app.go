// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// parseGlobalOption sets up the app from a global option, which may be given in
// several blocks. Syntax:
//
//	relay {
//	    store              <module> [<args...>] { ... }
//	    retention          <duration>|never
//	    retention_dead     <duration>|never
//	    max_disk           <size>
//	    min_free           <size>|<percent>
//	    max_buffer         <size>
//	    grace_period       <duration>
//	    on_storage_failure degrade|exit
//	    admin_reveal
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(App)
	if earlier, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(earlier.Value, app); err != nil {
			return nil, d.WrapErr(err)
		}
	}
	seen := app.configured()
	d.Next() // the name of the option
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	for d.NextBlock(0) {
		if err := once(d, seen, d.Val(), nil); err != nil {
			return nil, err
		}
		if err := app.parseOption(d); err != nil {
			return nil, withoutMisplaced(err, d)
		}
	}
	return httpcaddyfile.App{Name: "relay", Value: caddyconfig.JSON(app, nil)}, nil
}

// configured returns the words that an earlier block has set.
func (a *App) configured() map[string]bool {
	return map[string]bool{
		"store":          a.StoreRaw != nil,
		"retention":      a.Retention != 0,
		"retention_dead": a.RetentionDead != 0,
		"max_buffer":     a.MaxBuffer != 0,
		"grace_period":   a.GracePeriod != 0,
		"max_disk":       a.MaxDisk != 0,
		"min_free":       a.MinFree != 0 || a.MinFreePercent != 0,
		"admin_reveal":   a.AdminReveal,

		"on_storage_failure": a.OnStorageFailure != "",
	}
}

// parseOption reads one line of the block.
func (a *App) parseOption(d *caddyfile.Dispenser) (err error) {
	switch d.Val() {
	case "store":
		return a.parseStore(d)
	case "retention":
		a.Retention, err = parseKeeping(d)
	case "retention_dead":
		a.RetentionDead, err = parseKeeping(d)
	case "max_buffer":
		a.MaxBuffer, err = parseSize(d)
	case "grace_period":
		a.GracePeriod, err = parseDuration(d)
	case "max_disk":
		err = a.parseMaxDisk(d)
	case "min_free":
		err = a.parseMinFree(d)
	case "on_storage_failure":
		err = a.parseStorageFailure(d)
	case "admin_reveal":
		if a.AdminReveal = true; d.NextArg() {
			err = d.Err("admin_reveal takes nothing")
		}
	default:
		err = d.Errf("unknown option '%s' of relay: it has store, retention, retention_dead, max_disk, min_free, max_buffer, grace_period, on_storage_failure and admin_reveal", d.Val())
	}
	return err
}

// parseKeeping reads how long something is kept.
func parseKeeping(d *caddyfile.Dispenser) (caddy.Duration, error) {
	var text string
	if word := d.Val(); !d.AllArgs(&text) {
		return 0, d.Errf("%s takes one duration or never", word)
	}
	return parseAge(d, text)
}

// parseStore reads a store option, whose module reads the rest of it.
func (a *App) parseStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("store needs a module: pebble or memory")
	}
	name := d.Val()
	if _, err := caddy.GetModule("relay.stores." + name); err != nil {
		return d.Errf("unknown store '%s': it is pebble or memory", name)
	}
	guest, err := caddyfile.UnmarshalModule(d, "relay.stores."+name)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(guest, "module", name, nil)
	return nil
}
