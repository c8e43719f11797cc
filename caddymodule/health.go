// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// healthGap is how often the findings of health checks are looked at. Checks that
// come more often are looked at as often as they come.
const healthGap = time.Second

// healthWatch tells an engine which destinations the active health checks of
// Caddy's proxies have found healthy again. It looks, and is not told: health
// checks run as soon as their proxy is provisioned, and Caddy's events app may not
// be subscribed to while anything emits events.
type healthWatch struct {
	upstreams []*checkedUpstream
	gap       time.Duration
	stopped   chan struct{}
}

// checkedUpstream is an upstream that its proxy checks.
type checkedUpstream struct {
	destination string
	upstream    *reverseproxy.Upstream
	maxFails    int // of the passive health check, 0 where there is none
	ill         bool
}

// watchHealth looks after all upstreams of destinations that are checked, until it
// is stopped.
func watchHealth(engine *pooledEngine, destinations []*Destination) *healthWatch {
	w := &healthWatch{gap: healthGap, stopped: make(chan struct{})}
	for _, d := range destinations {
		for proxy := range proxies(d.Handle) {
			w.follow(d.id, proxy)
		}
	}
	if len(w.upstreams) > 0 {
		go w.run(engine)
	}
	return w
}

// follow adds the upstreams of a provisioned proxy.
func (w *healthWatch) follow(destination string, proxy *reverseproxy.Handler) {
	if proxy.HealthChecks == nil || proxy.HealthChecks.Active == nil || !proxy.HealthChecks.Active.IsEnabled() {
		return
	}
	maxFails := 0
	if passive := proxy.HealthChecks.Passive; passive != nil {
		maxFails = passive.MaxFails
	}
	if interval := time.Duration(proxy.HealthChecks.Active.Interval); interval > 0 {
		w.gap = min(w.gap, interval)
	}
	for _, upstream := range proxy.Upstreams {
		w.upstreams = append(w.upstreams, &checkedUpstream{destination: destination, upstream: upstream, maxFails: maxFails})
	}
}

// stop ends it. It may be nil.
func (w *healthWatch) stop() {
	if w != nil {
		close(w.stopped)
	}
}

func (w *healthWatch) run(engine *pooledEngine) {
	ticker := time.NewTicker(w.gap)
	defer ticker.Stop()
	for {
		select {
		case <-w.stopped:
			return
		case <-ticker.C:
		}
		for _, u := range w.upstreams {
			if u.recovered() {
				engine.SeenHealthy(u.destination)
			}
		}
	}
}

// recovered reports whether the upstream was ill when it was last looked at and is
// healthy now. While failures of attempts have it avoided, it can not be seen what
// the checks have found.
func (u *checkedUpstream) recovered() bool {
	switch {
	case u.upstream.Healthy():
		recovered := u.ill
		u.ill = false
		return recovered
	case u.maxFails == 0 || u.upstream.Fails() < u.maxFails:
		u.ill = true
	}
	return false
}
