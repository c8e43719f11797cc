// SPDX-License-Identifier: Apache-2.0

// Package scheme knows how providers sign their webhooks. A scheme is plain
// data: where the signature is sent, how it is encoded, what text is signed,
// how long it stays fresh, and which values name the event. The presets are
// rows of one table of such descriptions, and a user's own scheme is one more
// row of the same type.
//
// [Scheme.Compile] binds a description to its secrets and returns a
// [Verifier], which checks requests and, where the scheme allows it, signs
// them. Verification works on the raw bytes of the body as received, tries
// every secret in constant time, decodes strictly, and never takes the
// algorithm from the request.
//
//	s, _ := scheme.Preset("stripe")
//	v, err := s.Compile([][]byte{secret})
//	...
//	verdict, err := v.Verify(request, time.Now())
//
// The package is a leaf: it imports nothing else of this module.
package scheme
