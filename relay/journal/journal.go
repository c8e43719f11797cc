// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"sync"
)

// Journal is the journal of one process. Its methods may be called by any number of
// goroutines at once, and do nothing on nil and after Close.
type Journal struct {
	mu     sync.Mutex
	file   region
	free   []int
	closed bool

	// found is what Open found. rows are where suspects stand that are not cleared.
	found   []Suspect
	crashes int
	rows    map[ID]int
}

// Open opens the journal at path, which is made if it does not exist. An owner is
// one life of the work: what an earlier owner had under way when it died becomes
// suspect, what this one had does not. A file that is not whole counts as empty.
func Open(path string, owner [16]byte) (*Journal, error) {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading journal: %w", err)
	}
	former, _ := parse(old)
	now := former.next(owner)
	file, err := create(path, now.format())
	if err != nil {
		return nil, fmt.Errorf("making journal: %w", err)
	}
	j := &Journal{
		file: file, free: make([]int, slots), found: now.suspects, crashes: int(now.crashes),
		rows: make(map[ID]int, len(now.suspects)),
	}
	for i := range j.free {
		j.free[i] = headerSize + (slots-1-i)*slotSize // the first slot is taken first
	}
	for i, s := range now.suspects {
		j.rows[s.ID] = headerSize + (slots+i)*slotSize
	}
	return j, nil
}

// create makes the file anew, at once for all who open it, and returns its bytes.
func create(path string, b []byte) (region, error) {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, b, 0o600); err != nil { //nolint:gosec // the operator chose the directory
		return region{}, err
	}
	file, err := open(temporary)
	if err != nil {
		return region{}, err
	}
	if err := os.Rename(temporary, path); err != nil {
		return region{}, errors.Join(err, file.close())
	}
	return file, nil
}

// Suspects returns what Open found suspect, that with the most strikes first.
func (j *Journal) Suspects() []Suspect {
	if j == nil {
		return nil
	}
	return slices.Clone(j.found)
}

// Crashes returns how many owners in a row have died with work under way.
func (j *Journal) Crashes() int {
	if j == nil {
		return 0
	}
	return j.crashes
}

// Begin notes that work begins, and returns the slot that End needs. With very much
// under way it notes nothing.
func (j *Journal) Begin(id ID) (slot int) {
	if j == nil {
		return 0
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || len(j.free) == 0 {
		return 0
	}
	defer j.survive(debug.SetPanicOnFault(true), &slot)
	slot = j.free[len(j.free)-1]
	j.free = j.free[:len(j.free)-1]
	row := j.file.bytes[slot : slot+slotSize]
	id.put(row)
	row[usedAt] = 1
	j.file.changed(slot, slotSize)
	return slot
}

// End notes that work has ended, however it did: it has not brought the process
// down, and is not suspect any more.
func (j *Journal) End(slot int, id ID) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	defer j.survive(debug.SetPanicOnFault(true), &slot)
	if slot > 0 {
		j.file.bytes[slot+usedAt] = 0
		j.file.changed(slot, slotSize)
		j.free = append(j.free, slot)
	}
	j.clear(id)
}

// Clear ends the suspicion against work that was not done, because there is none to
// do.
func (j *Journal) Clear(id ID) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	defer j.survive(debug.SetPanicOnFault(true), new(int))
	j.clear(id)
}

// survive ends the journal, and nothing else, when memory that stands for the file
// can not be had: a disk that is full or broken says so by a fault. former is how
// the goroutine took faults before.
func (j *Journal) survive(former bool, slot *int) {
	debug.SetPanicOnFault(former)
	p := recover()
	if p == nil {
		return
	}
	if _, fault := p.(interface{ Addr() uintptr }); !fault {
		panic(p)
	}
	j.closed, *slot = true, 0
	_ = j.file.close()
}

func (j *Journal) clear(id ID) {
	row, ok := j.rows[id]
	if !ok {
		return
	}
	delete(j.rows, id)
	j.file.bytes[row+usedAt] = 0
	j.file.changed(row, slotSize)
	if len(j.rows) == 0 {
		binary.LittleEndian.PutUint32(j.file.bytes[crashesAt:], 0)
		j.file.changed(0, headerSize)
	}
}

// Close notes that the process ends as it should: whatever is still under way is
// not to blame for that.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	defer j.survive(debug.SetPanicOnFault(true), new(int))
	j.file.bytes[endedAt] = 1
	j.file.changed(0, headerSize)
	return j.file.close()
}
