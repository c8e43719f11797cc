// SPDX-License-Identifier: Apache-2.0

// Package storetest is the conformance suite of package store: what it checks is
// the definition of a store. A store exists when Run passes on it; Bench measures
// it.
//
// The suite compares times to the microsecond, drives the store with a clock of
// its own, and never reads more out of a store than its interface shows.
package storetest
