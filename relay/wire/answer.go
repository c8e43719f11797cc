// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"io"
	"net/http"
	"sync"
)

// HeadSize is how much of an answer's body is kept, in bytes.
const HeadSize = 1 << 10

// Answer is what is kept of an answer.
type Answer struct {
	// Status is the first one that is final. An upstream that switches protocols
	// has given its last answer with 101.
	Status int

	// Header has the headers as they came, and no trailers.
	Header http.Header

	// Head is the first bytes of the body, up to HeadSize.
	Head []byte
}

// chunks are what bodies are read into.
var chunks = sync.Pool{New: func() any { return new([8 << 10]byte) }}

// readBody reads a body to its end and returns the first bytes of it.
func readBody(r *http.Response) (head []byte, err error) {
	if r.Body == http.NoBody {
		return nil, nil
	}
	chunk := chunks.Get().(*[8 << 10]byte)
	defer chunks.Put(chunk)
	for {
		n, err := r.Body.Read(chunk[:])
		if room := HeadSize - len(head); room > 0 && n > 0 {
			head = append(head, chunk[:min(room, n)]...)
		}
		switch err {
		case nil:
		case io.EOF:
			return head, nil
		default:
			return nil, err
		}
	}
}
