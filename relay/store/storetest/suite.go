// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// Backend is a store under test.
type Backend struct {
	// Store is open and empty. The suite closes it, at times twice.
	Store store.Store

	// Reopen closes the store, opens it again in the same place and returns it. It
	// is nil for a store that keeps nothing beyond Close.
	Reopen func() store.Store
}

// Factory opens a store in a fresh place, with now as its clock. It fails tb
// where it can not.
type Factory func(tb testing.TB, now func() time.Time) Backend

// Run checks that the stores that f opens keep the contract of store.Store.
func Run(t *testing.T, f Factory) {
	t.Helper()
	for _, group := range []struct {
		name  string
		cases []check
	}{
		{"Accept", acceptChecks},
		{"Duplicate", duplicateChecks},
		{"Window", windowChecks},
		{"Keys", keyChecks},
		{"Claim", claimChecks},
		{"Lease", leaseChecks},
		{"Hasten", hastenChecks},
		{"Finish", finishChecks},
		{"Attempt", attemptChecks},
		{"Lane", laneChecks},
		{"Hold", holdChecks},
		{"Operator", operatorChecks},
		{"Operate", operateChecks},
		{"Message", messageChecks},
		{"List", listChecks},
		{"List_by_type", listTypeChecks},
		{"Purge", purgeChecks},
		{"Entity", entityChecks},
		{"Concurrency", concurrencyChecks},
		{"Atomicity", atomicityChecks},
		{"Lifecycle", lifecycleChecks},
	} {
		t.Run(group.name, func(t *testing.T) { runChecks(t, f, group.cases) })
	}
	t.Run("Reopen", func(t *testing.T) {
		if newFixture(t, f).backend.Reopen == nil {
			t.Skip("the store keeps nothing beyond Close")
		}
		runChecks(t, f, reopenChecks)
	})
	t.Run("T8_same_as_the_model", func(t *testing.T) { runMachine(t, f) })
}

// runChecks runs each check on a store of its own.
func runChecks(t *testing.T, f Factory, checks []check) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(newFixture(t, f)) })
	}
}

// check is one behaviour that every store has.
type check struct {
	name string
	run  func(x *fixture)
}
