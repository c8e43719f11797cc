// SPDX-License-Identifier: Apache-2.0

// Package caddymodule makes the relay engine a part of Caddy. It translates and
// does nothing else: configuration into generations of an engine, requests into
// messages, attempts into requests through Caddy's own handlers.
//
// # Modules
//
//	module ID                  Go type        what it is
//	relay                      App            the app: store, disk, retention, grace period
//	http.handlers.relay        Handler        the directive: one source and its destinations
//	admin.api.relay            AdminAPI       what operators see and do at Caddy's admin endpoint
//	relay.stores.pebble        PebbleStore    the default store
//	relay.stores.memory        MemoryStore    a store that does not survive the process
//	relay.schemes.<preset>     PresetScheme   how a known provider signs
//	relay.schemes.hmac         HMACScheme     a signature described in the configuration
//	relay.retry_policies.*     Exponential, Fixed, Schedule, Off
//	http.reverse_proxy.transport.relay_http
//	                           lastingTransport  what stands in a forward for Caddy's http
//
// The commands `caddy relay ...` are beside them; they use the admin endpoint.
//
// # Files
//
//	caddyfile_*                               what parses the Caddyfile, by option
//	app, pool, linger, stores                 the app, and the engines that outlive a configuration
//	relay, handler, body, respond             the directive, and a request on its way in
//	refusal, shed, clock                      who is refused with what, and when our own clock is to blame
//	verify, schemes, binding, secret, watch   schemes with their secrets, which follow files
//	handshake, expected, learned, fetch       questions of providers, and keys that are fetched
//	dedupe, order, pattern, wait, pass        options of the directive
//	destination, policy, retries, upstream    where deliveries go, and how
//	replay, capture, classify, resign         an attempt through Caddy's handlers
//	transport, settle                         what a reload leaves to such attempts
//	plain, direct                             an attempt that needs none of them
//	admin, api*                               the admin endpoint
//	command*, adminclient                     the commands
//	metrics*, standings, health, logger       what is told to others
//	disk, sites, orphans                      what is looked at or warned of when it starts
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
