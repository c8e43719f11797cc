// SPDX-License-Identifier: Apache-2.0

//go:build race

package scheme

// raceEnabled says that pools drop memory at random.
const raceEnabled = true
