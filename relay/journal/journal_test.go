// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/quick"
)

func owner(n byte) [16]byte { return [16]byte{0: n} }

func id(n byte) ID { return ID{Message: [16]byte{15: n}, N: uint32(n)} }

// life opens the journal as an owner does; a life that is not closed has died.
func life(t *testing.T, path string, n byte) *Journal {
	t.Helper()
	j, err := Open(path, owner(n))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func expect(t *testing.T, j *Journal, crashes int, want ...Suspect) {
	t.Helper()
	if got := j.Suspects(); !slices.Equal(got, want) || j.Crashes() != crashes {
		t.Errorf("after %d crashes suspect: %v; want %v after %d", j.Crashes(), got, want, crashes)
	}
}

func TestOnlyWhatWasAloneGetsAStrike(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := life(t, path, 1)
	expect(t, j, 0)
	j.Begin(id(1))
	j.Begin(id(2))
	j.End(j.Begin(id(3)), id(3))
	j = life(t, path, 2)
	expect(t, j, 1, Suspect{id(1), 0}, Suspect{id(2), 0})
	j.Begin(id(2))
	j = life(t, path, 3)
	expect(t, j, 2, Suspect{id(2), 1}, Suspect{id(1), 0})
	j.End(j.Begin(id(1)), id(1))
	j.Begin(id(2))
	j = life(t, path, 4)
	expect(t, j, 3, Suspect{id(2), 2})
	j.Clear(id(2))
	expect(t, life(t, path, 5), 0)
}

func TestWhatEndsIsNotSuspect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := life(t, path, 1)
	j.Begin(id(1))
	j = life(t, path, 2)
	slot := j.Begin(id(1))
	j.End(slot, id(1))
	if again := j.Begin(id(9)); again != slot {
		t.Errorf("the slot is not used again: %d, %d", slot, again)
	}
	expect(t, life(t, path, 3), 1, Suspect{id(9), 1})
}

func TestAGoodEndLeavesNothingNewBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := life(t, path, 1)
	j.Begin(id(1))
	j = life(t, path, 2)
	slot := j.Begin(id(2))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	// What ends late finds the memory gone.
	j.End(slot, id(2))
	j.Clear(id(1))
	if slot := j.Begin(id(3)); slot != 0 {
		t.Error("a closed journal takes work")
	}
	if err := j.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	expect(t, life(t, path, 3), 1, Suspect{id(1), 1})
}

func TestAnOwnerDoesNotSuspectItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := life(t, path, 1)
	j.Begin(id(1))
	again := life(t, path, 1)
	expect(t, again, 0)
	j.Begin(id(2)) // of the former store, which hangs
	expect(t, life(t, path, 2), 0)
}

func TestMoreWorkThanSlotsIsNotNoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := life(t, path, 1)
	for n := range slots + 10 {
		slot := j.Begin(ID{N: uint32(n)})
		if (slot == 0) != (n >= slots) {
			t.Fatalf("slot %d for the %dth", slot, n)
		}
	}
	j.End(0, ID{N: slots})
	j = life(t, path, 2)
	if n := len(j.Suspects()); n != slots || j.Suspects()[0].Strikes != 0 {
		t.Errorf("%d suspect", n)
	}
	var none *Journal
	none.End(none.Begin(id(1)), id(1))
	none.Clear(id(1))
	if none.Suspects() != nil || none.Crashes() != 0 || none.Close() != nil {
		t.Error("no journal is not none")
	}
}

// TestAFileThatCanNotBeWrittenEndsTheJournalAlone takes the pages away from under
// the memory, as a disk does that is full or broken.
func TestAFileThatCanNotBeWrittenEndsTheJournalAlone(t *testing.T) {
	for name, work := range map[string]func(j *Journal){
		"begin": func(j *Journal) { j.Begin(id(2)) },
		"end":   func(j *Journal) { j.End(headerSize, id(1)) },
		"clear": func(j *Journal) { j.Clear(id(1)) },
		"close": func(j *Journal) { _ = j.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal")
			life(t, path, 1).Begin(id(1))
			j := life(t, path, 2)
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
			work(j)
			if slot := j.Begin(id(3)); slot != 0 && runtime.GOOS != "windows" {
				t.Error("the journal takes work")
			}
			j.End(headerSize, id(3))
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestConcurrentWorkIsNotedOnce(t *testing.T) {
	j := life(t, filepath.Join(t.TempDir(), "journal"), 1)
	var group sync.WaitGroup
	for n := range 100 {
		group.Go(func() {
			for range 100 {
				j.End(j.Begin(id(byte(n))), id(byte(n)))
			}
		})
	}
	group.Wait()
	if c, ok := parse(j.file.bytes); !ok || len(c.running) > 0 || len(j.free) != slots {
		t.Errorf("%v, %d still run, %d slots free", ok, len(c.running), len(j.free))
	}
}

func TestADamagedJournalCountsAsEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	for _, text := range []string{"", "relayj\x00\x01", string(make([]byte, fileSize))} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		expect(t, life(t, path, 1), 0)
	}
	if _, err := Open(filepath.Join(path, "below"), owner(1)); err == nil {
		t.Error("a journal is made below a file")
	}
}

func TestSuspectsSurviveTheirRecord(t *testing.T) {
	if err := quick.Check(func(message [16]byte, n, strikes, crashes uint32, by [16]byte) bool {
		c := content{owner: by, crashes: crashes, suspects: []Suspect{{ID{message, n}, strikes}}}
		got, ok := parse(c.format())
		return ok && got.owner == by && got.crashes == crashes && !got.ended && len(got.running) == 0 && slices.Equal(got.suspects, c.suspects)
	}, nil); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(magic), 0, byte(1))
	f.Add([]byte{}, headerSize+usedAt, byte(1))
	f.Add([]byte("x"), fileSize-1, byte(0xff))
	f.Fuzz(func(t *testing.T, head []byte, at int, value byte) {
		b := new(content).format()
		if copy(b[len(magic):], head); at >= 0 && at < len(b) {
			b[at] = value
		}
		c, ok := parse(b)
		if !ok {
			return
		}
		n := c.next(owner(1))
		if again, ok := parse(n.format()); !ok || !slices.Equal(again.suspects, n.suspects) || len(again.running) > 0 {
			t.Errorf("%v became %v", n.suspects, again.suspects)
		}
		parse(head)
	})
}

func BenchmarkWork(b *testing.B) {
	j, err := Open(filepath.Join(b.TempDir(), "journal"), owner(1))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			j.End(j.Begin(id(1)), id(1))
		}
	})
}
