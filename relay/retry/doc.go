// SPDX-License-Identifier: Apache-2.0

// Package retry decides when a failed delivery is tried again.
//
// Everything here is a pure function of its arguments: the same failure under
// the same rule and seed always gives the same answer, so that a schedule can
// be tested, simulated and replayed.
package retry
