// SPDX-License-Identifier: Apache-2.0

// Package journal remembers over the death of a process what it was just doing, so
// that work which brings the process down can be told from work that was merely
// under way.
//
// Nothing is synced: what a process has written survives its death in the memory of
// the operating system, and the death of that is nobody's fault.
package journal
