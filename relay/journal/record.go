// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// The file: a header, then slots for what is under way, then rows for suspects.
// All have fixed places, so that nothing in it depends on something else.
const (
	magic      = "relayj\x00\x01"
	headerSize = 64
	slotSize   = 32
	slots      = 2048
	suspects   = 2048
	fileSize   = headerSize + (slots+suspects)*slotSize

	// In the header: the magic, the owner, whether it ended well, and how many
	// owners in a row did not.
	ownerAt   = 8
	endedAt   = 24
	crashesAt = 28

	// In a slot and in a row: the id, strikes, and whether it is in use.
	numberAt  = 16
	strikesAt = 20
	usedAt    = 24
)

// ID names a piece of work.
type ID struct {
	Message [16]byte
	N       uint32
}

// Suspect is work that was under way when a process died.
type Suspect struct {
	ID ID

	// Strikes counts how often the process died while nothing else was under way,
	// since the work has last ended in any other way.
	Strikes uint32
}

// content is what a journal says.
type content struct {
	owner    [16]byte
	ended    bool
	crashes  uint32
	running  []ID
	suspects []Suspect
}

// parse reads a journal. It is false for one that is not whole, which then says
// nothing.
func parse(b []byte) (content, bool) {
	if len(b) != fileSize || string(b[:len(magic)]) != magic {
		return content{}, false
	}
	c := content{ended: b[endedAt] != 0, crashes: binary.LittleEndian.Uint32(b[crashesAt:])}
	copy(c.owner[:], b[ownerAt:])
	for n := range slots + suspects {
		row := b[headerSize+n*slotSize:][:slotSize]
		if row[usedAt] == 0 {
			continue
		}
		id := ID{N: binary.LittleEndian.Uint32(row[numberAt:])}
		copy(id.Message[:], row)
		if n < slots {
			c.running = append(c.running, id)
		} else {
			c.suspects = append(c.suspects, Suspect{ID: id, Strikes: binary.LittleEndian.Uint32(row[strikesAt:])})
		}
	}
	return c, true
}

// next returns what the journal of a new owner begins with. What was under way
// when the former one died is suspect from then on; the former owner itself, and
// one that ended well, leave nothing new behind.
func (c *content) next(owner [16]byte) content {
	n := content{owner: owner, suspects: c.suspects, crashes: c.crashes}
	if c.ended || c.owner == owner || len(c.running) == 0 {
		return n
	}
	n.crashes++
	for _, id := range c.running {
		at := slices.IndexFunc(n.suspects, func(s Suspect) bool { return s.ID == id })
		if at < 0 {
			at = len(n.suspects)
			n.suspects = append(n.suspects, Suspect{ID: id})
		}
		if len(c.running) == 1 {
			n.suspects[at].Strikes++
		}
	}
	slices.SortStableFunc(n.suspects, func(a, b Suspect) int { return cmp.Compare(b.Strikes, a.Strikes) })
	n.suspects = n.suspects[:min(len(n.suspects), suspects)]
	return n
}

// format writes a journal of which nothing is under way.
func (c *content) format() []byte {
	b := make([]byte, fileSize)
	copy(b, magic)
	copy(b[ownerAt:], c.owner[:])
	binary.LittleEndian.PutUint32(b[crashesAt:], c.crashes)
	for i, s := range c.suspects {
		row := b[headerSize+(slots+i)*slotSize:]
		s.ID.put(row)
		binary.LittleEndian.PutUint32(row[strikesAt:], s.Strikes)
		row[usedAt] = 1
	}
	return b
}

// put writes the id into a slot or a row.
func (id *ID) put(row []byte) {
	copy(row, id.Message[:])
	binary.LittleEndian.PutUint32(row[numberAt:], id.N)
}
