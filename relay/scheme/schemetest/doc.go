// SPDX-License-Identifier: Apache-2.0

// Package schemetest has what providers send, taken from their documentation and
// libraries, for all tests that compare with it: the vectors of vectors.jsonl,
// which are signed requests, and the exchanges of handshakes.jsonl, which are
// questions and the answers that are wanted.
package schemetest
