// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// blobSuffix ends the names of the files in which Pebble keeps messages.
const blobSuffix = ".blob"

// errRotten says that a file of messages can not be read. It is not one of Pebble's
// errors of corruption.
var errRotten = errors.New("a file of messages can not be read")

// checkEnd reads the end of a file of messages, which says where all else is. Pebble
// 2.1.7 panics over one that has rotted, if it hears of it in its own words: so it
// hears errRotten. Other errors it may find itself.
func checkEnd(file vfs.File) error {
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	_, err = blob.NewFileReader(context.Background(), readable, blob.FileReaderOptions{})
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %v", errRotten, err) // which must not be taken for one of Pebble's
	}
	return nil
}

// The index of a file of messages, as Pebble lays it out: a number of its own, a
// column that only rewritten files have, and where each block begins, with the end
// of the last one.
const (
	blobIndexHeader  = 4
	blobIndexOffsets = 1
)

// readBlobs reads a file in which Pebble keeps messages from its beginning to its
// end. The error is one of corruption where a checksum does not fit, or what should
// be there is not.
func readBlobs(fs vfs.FS, path string) (err error) {
	file, err := fs.Open(path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return firstError(err, file.Close())
	}
	ctx := context.Background()
	r, err := blob.NewFileReader(ctx, readable, blob.FileReaderOptions{})
	if err != nil {
		return firstError(err, readable.Close())
	}
	defer func() { err = firstError(err, r.Close()) }()
	index, err := r.ReadIndexBlock(ctx, block.NoReadEnv, nil)
	if err != nil {
		return err
	}
	defer index.Release()
	handles, err := blobBlocks(index.BlockData())
	if err != nil {
		return err
	}
	for _, handle := range handles {
		b, err := r.ReadValueBlock(ctx, block.NoReadEnv, nil, handle)
		if err != nil {
			return err
		}
		b.Release()
	}
	return nil
}

// blobBlocks reads from an index where the blocks are.
func blobBlocks(index []byte) (handles []block.Handle, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: index of a file of messages: %v", pebble.ErrCorruption, p)
		}
	}()
	var d colblk.BlockDecoder
	d.Init(index, blobIndexHeader)
	offsets := colblk.DecodeColumn(&d, blobIndexOffsets, d.Rows()+1, colblk.DataTypeUint, colblk.DecodeUnsafeUints)
	for i := range d.Rows() {
		from, to := offsets.At(i), offsets.At(i+1)
		handles = append(handles, block.Handle{Offset: from, Length: to - from - block.TrailerLen})
	}
	return handles, nil
}
