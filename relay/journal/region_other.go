// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package journal

import "os"

// region is a file with a copy of it in memory.
type region struct {
	bytes []byte
	file  *os.File
}

// open opens a file of the size of a journal.
func open(path string) (region, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return region{}, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return region{}, err
	}
	return region{b, f}, nil
}

// changed says that bytes have changed. That they could not be written costs no
// more than the suspicion.
func (r region) changed(at, n int) { _, _ = r.file.WriteAt(r.bytes[at:at+n], int64(at)) }

// close closes the file.
func (r region) close() error { return r.file.Close() }
