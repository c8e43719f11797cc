// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// StoreModule is what a guest of the namespace relay.stores implements.
type StoreModule interface {
	// Location identifies what the store keeps its data in, without any
	// credentials: two configurations with one location share one open store.
	Location() string

	// Open opens the store. It is called when Caddy starts, never when a
	// configuration is only checked. log outlives the configuration.
	Open(ctx context.Context, log *zap.Logger) (store.Store, error)
}

// PebbleStore keeps messages on the local disk. It is the default store.
type PebbleStore struct {
	// The directory to keep the data in. It is made if it does not exist.
	// Default: `relay` in Caddy's data directory.
	Path string `json:"path,omitempty"`

	// Whether it is meant that the directory does not outlive the machine or the
	// container. Then nobody is warned of its file system. Default: false.
	Ephemeral bool `json:"ephemeral,omitempty"`

	location string
}

// CaddyModule returns the Caddy module information.
func (*PebbleStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay.stores.pebble", New: func() caddy.Module { return new(PebbleStore) }}
}

// Provision finds out where the data is. It does not touch the disk beyond
// following links.
func (p *PebbleStore) Provision(caddy.Context) error {
	path := p.Path
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "relay")
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(path, true, true)
	if err != nil {
		return fmt.Errorf("path of the store: %w", err)
	}
	p.location, err = canonicalPath(path)
	return err
}

// Location returns the canonical absolute path of the directory.
func (p *PebbleStore) Location() string { return p.location }

// Open opens the directory. Its errors name who holds it, or who may not.
func (p *PebbleStore) Open(_ context.Context, log *zap.Logger) (store.Store, error) {
	s, err := pebble.Open(p.location, pebble.Options{Logger: log, Ephemeral: p.Ephemeral})
	if err != nil {
		return nil, err // not a nil *pebble.Store in an interface
	}
	return s, nil
}

// UnmarshalCaddyfile sets up the store. Syntax:
//
//	store pebble [<path>] {
//	    path <path>
//	    ephemeral
//	}
func (p *PebbleStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the module
	if d.NextArg() {
		p.Path = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if err := p.parseOption(d); err != nil {
			return err
		}
	}
	return nil
}

// parseOption reads one line of the block.
func (p *PebbleStore) parseOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "path":
		if p.Path != "" {
			return d.Err("path is given twice")
		}
		if !d.AllArgs(&p.Path) {
			return d.ArgErr()
		}
	case "ephemeral":
		if p.Ephemeral {
			return d.Err("ephemeral is given twice")
		}
		if d.NextArg() {
			return d.Err("ephemeral takes no argument")
		}
		p.Ephemeral = true
	default:
		return d.Errf("unknown option '%s' of store pebble: it has path and ephemeral", d.Val())
	}
	return nil
}

// MemoryStore keeps messages in memory. They are lost when the process ends, so
// it is for tests and trials.
type MemoryStore struct{}

// CaddyModule returns the Caddy module information.
func (*MemoryStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay.stores.memory", New: func() caddy.Module { return new(MemoryStore) }}
}

// Location returns an empty string: a process has one such store.
func (*MemoryStore) Location() string { return "" }

// Open returns an empty store.
func (*MemoryStore) Open(context.Context, *zap.Logger) (store.Store, error) {
	return memory.New(memory.Options{}), nil
}

// UnmarshalCaddyfile sets up the store. Syntax:
//
//	store memory
func (*MemoryStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the module
	if d.NextArg() || d.NextBlock(0) {
		return d.ArgErr()
	}
	return nil
}

// canonicalPath makes a path absolute and resolves the links in that part of it
// that exists, so that two spellings of one directory are one store.
func canonicalPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("path of the store: %w", err)
	}
	rest := ""
	for dir := abs; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest), nil
		}
		if dir == filepath.Dir(dir) {
			return abs, nil
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// Interface guards
var (
	_ StoreModule           = (*PebbleStore)(nil)
	_ StoreModule           = (*MemoryStore)(nil)
	_ caddy.Provisioner     = (*PebbleStore)(nil)
	_ caddyfile.Unmarshaler = (*PebbleStore)(nil)
	_ caddyfile.Unmarshaler = (*MemoryStore)(nil)
)
