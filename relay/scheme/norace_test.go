// SPDX-License-Identifier: Apache-2.0

//go:build !race

package scheme

// raceEnabled says that pools keep their memory.
const raceEnabled = false
