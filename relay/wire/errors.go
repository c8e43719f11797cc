// SPDX-License-Identifier: Apache-2.0

package wire

import "errors"

var (
	// ErrIncomplete says that an answer has begun and not come to its end.
	ErrIncomplete = errors.New("the answer ended before it was whole")

	// ErrNoAnswer says that the upstream has closed the connection instead of
	// answering.
	ErrNoAnswer = errors.New("the connection was closed without an answer")

	// ErrHeadTooLarge says that the headers of an answer, with those of the interim
	// answers before it, exceed MaxHead.
	ErrHeadTooLarge = errors.New("the headers of the answer exceed 256 KiB")
)

// unsentError says that nothing of a request has been written to a connection.
type unsentError struct{ error }

func (e unsentError) Unwrap() error { return e.error }
