// SPDX-License-Identifier: Apache-2.0

package pebble

// WithCohorts returns the options with smaller cohorts of what is handed over, so
// that a test has many of them.
func (o Options) WithCohorts(messages, reach uint64) Options {
	o.cohortMessages, o.cohortReach = messages, reach
	return o
}
