// SPDX-License-Identifier: Apache-2.0

// Package caddymodule makes the relay engine a part of Caddy. It translates and
// does nothing else: configuration into generations of an engine, requests into
// messages, attempts into requests through Caddy's own handlers.
//
// # Modules
//
//	module ID                     Go type         what it is
//	relay                         App             the app: store, retention, grace period
//	http.handlers.relay           Handler         the directive: one source and its destinations
//	admin.api.relay                 AdminAPI        what operators see and do at Caddy's admin endpoint
//	relay.stores.pebble           PebbleStore     the default store
//	relay.stores.memory           MemoryStore     a store that does not survive the process
//	relay.schemes.<preset>        PresetScheme    how a known provider signs
//	relay.schemes.hmac            HMACScheme      a signature described in the configuration
//	relay.retry_policies.*        Exponential, Fixed, Schedule, Off
//
// # Namespaces
//
// Other modules can be guests of these namespaces by implementing the Go
// interface beside them:
//
//	relay.stores           StoreModule
//	relay.schemes          SchemeModule
//	relay.retry_policies   RetryModule
package caddymodule
