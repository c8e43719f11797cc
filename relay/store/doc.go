// SPDX-License-Identifier: Apache-2.0

// Package store defines what keeps messages, deliveries, attempts, dedupe keys
// and the entities of an open platform, and what such a store promises.
//
// The value types here are shared by the engine and all stores. A store exists
// when the conformance suite of package storetest passes on it; that suite, not
// this text, is the definition of the contract.
package store
