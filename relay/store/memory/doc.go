// SPDX-License-Identifier: Apache-2.0

// Package memory is the reference model of package store: the simplest store
// that keeps the contract, under one mutex and without any durability. Other
// stores are compared with it, and tests of the engine run on it.
package memory
