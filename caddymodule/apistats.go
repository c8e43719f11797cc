// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-relay/caddy-relay/relay"
)

// healthView says whether messages are accepted.
type healthView struct {
	Accepting bool      `json:"accepting"`
	Error     string    `json:"error,omitempty"`
	Store     storeView `json:"store"`
}

// storeView is how the store is.
type storeView struct {
	Location  string `json:"location"`
	Durable   bool   `json:"durable"`
	FreeBytes uint64 `json:"free_bytes,omitempty"`
	UsedBytes uint64 `json:"used_bytes,omitempty"`
	// UnreadableFiles have rotted, and keep their space until their messages are gone.
	UnreadableFiles int `json:"unreadable_files,omitempty"`
}

// statsView is all that one look at a relay shows.
type statsView struct {
	healthView
	Version      string            `json:"version"`
	CaddyVersion string            `json:"caddy_version"`
	Now          time.Time         `json:"now"`
	JobsRunning  int               `json:"jobs_running"`
	Destinations []destinationView `json:"destinations"`
}

// destinationView is how a destination is. Its books always add up: made =
// delivered + dead + open + canceled + deleted.
type destinationView struct {
	ID string `json:"id"`
	// State is up, down, paused, or parked where the configuration does not have the
	// destination.
	State        string     `json:"state"`
	Pause        *pauseView `json:"pause,omitempty"`
	Made         uint64     `json:"made"`
	Delivered    uint64     `json:"delivered"`
	Dead         uint64     `json:"dead"`
	Open         uint64     `json:"open"`
	Canceled     uint64     `json:"canceled"`
	Deleted      uint64     `json:"deleted"`
	OpenBytes    uint64     `json:"open_bytes"`
	Running      int        `json:"running"`
	Ready        int        `json:"ready"`
	OldestOpenAt *time.Time `json:"oldest_open_at,omitempty"`
}

// getHealth answers GET /relay/health: 200 while messages are accepted, else 503.
func getHealth(c *call) (int, any, error) {
	h := viewHealth(c.engine.Health())
	if !h.Accepting {
		return http.StatusServiceUnavailable, h, nil
	}
	return http.StatusOK, h, nil
}

func viewHealth(h relay.Health) healthView {
	v := healthView{
		Accepting: h.Err == nil,
		Store: storeView{
			Location: h.Store.Location, Durable: h.Store.Durable, FreeBytes: h.Store.FreeBytes, UsedBytes: h.Store.UsedBytes,
			UnreadableFiles: h.Store.Unreadable,
		},
	}
	if h.Err != nil {
		v.Error = h.Err.Error()
	}
	return v
}

// getStats answers GET /relay/stats.
func getStats(c *call) (int, any, error) {
	destinations, err := c.engine.Destinations(c.Context())
	if err != nil {
		return 0, nil, err
	}
	jobs, err := c.engine.Jobs(c.Context())
	if err != nil {
		return 0, nil, err
	}
	caddyVersion, _ := caddy.Version()
	v := statsView{
		healthView: viewHealth(c.engine.Health()), Version: version(), CaddyVersion: caddyVersion, Now: time.Now().UTC(),
		Destinations: make([]destinationView, 0, len(destinations)),
	}
	for i := range jobs {
		if jobs[i].State == "running" {
			v.JobsRunning++
		}
	}
	for i := range destinations {
		v.Destinations = append(v.Destinations, viewDestination(&destinations[i]))
	}
	return http.StatusOK, v, nil
}

func viewDestination(d *relay.DestinationStatus) destinationView {
	v := destinationView{
		ID: d.Destination, State: "up", Made: d.Books.Made, Delivered: d.Books.Delivered, Dead: d.Books.Dead, Open: d.Books.Open,
		Canceled: d.Books.Canceled, Deleted: d.Books.Deleted, OpenBytes: d.Books.OpenBytes, Running: d.Running, Ready: d.Ready, OldestOpenAt: optional(d.OldestOpen),
	}
	switch {
	case d.Pause != nil:
		v.State = "paused"
		v.Pause = viewPause(d.Pause)
	case !d.InForce:
		v.State = "parked"
	case d.Down:
		v.State = "down"
	}
	return v
}

// modulePath is the path of this module.
const modulePath = "github.com/caddy-relay/caddy-relay"

// version is the version of this module that the binary was built with.
var version = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == modulePath {
		return info.Main.Version
	}
	for _, module := range info.Deps {
		if module.Path != modulePath {
			continue
		}
		if module.Replace != nil {
			return "(devel)" // built from a checkout, as xcaddy.sh does
		}
		return module.Version
	}
	return "unknown"
})
