// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// blobs returns the names of the files of messages.
func blobs(t *testing.T, fs vfs.FS) (names []string) {
	t.Helper()
	all, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if path.Ext(name) == ".blob" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// spoil changes a byte of a file of the store, that far from its beginning or,
// where the number is negative, from its end.
func spoil(t *testing.T, fs vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(path.Join("store", name), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += info.Size()
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x55
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// fill accepts messages of 8 KiB and finishes them, so that one in so many is not to
// be purged.
func fill(t *testing.T, s *Store, messages, oneIn int) (stay []store.MessageID) {
	t.Helper()
	noise := rand.NewChaCha8([32]byte{})
	var batch []store.Acceptance
	for range messages {
		body := make([]byte, 8<<10)
		_, _ = noise.Read(body)
		m := &store.Message{ID: store.MessageID(ulid.Make()), BodySum: sha256.Sum256(body), Request: store.Request{Body: body}}
		batch = append(batch, store.Acceptance{Message: m, Deliveries: []store.NewDelivery{{Destination: "d", Lease: time.Minute}}})
	}
	answers, err := s.Accept(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	var finish []store.Finish
	for i, a := range answers {
		state := store.Delivered
		if i%oneIn == 5 {
			state = store.Dead
			stay = append(stay, batch[i].Message.ID)
		}
		finish = append(finish, store.Finish{Lease: a.Deliveries[0].Lease(), State: state})
	}
	if _, err := s.Finish(t.Context(), finish); err != nil {
		t.Fatal(err)
	}
	return stay
}

// reopen opens the store that the tests of rotten files use.
func reopen(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open("store", Options{FS: fs, MemTableSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting until %s", what)
		}
	}
}

// A file of messages that has rotted ends no process, and keeps its space until its
// messages are gone. Others are rewritten, as soon as they have lost more than it.
func TestT19_AFileThatHasRottedIsLeftAlone(t *testing.T) {
	var blocks []int64
	for at := int64(100); at < 160<<10; at += 4 << 10 {
		blocks = append(blocks, at)
	}
	for name, places := range map[string][]int64{"blocks": blocks, "index": {-80}, "end": {-1}} {
		t.Run(name, func(t *testing.T) { checkRot(t, places) })
	}
}

func checkRot(t *testing.T, places []int64) {
	fs := vfs.NewMem()
	s := reopen(t, fs)
	others := fill(t, s, 400, 10)
	inside := fill(t, s, 200, 20)
	others = append(others, fill(t, s, 400, 10)...)
	if err := errors.Join(s.db.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	all := blobs(t, fs)
	rotten := all[len(all)/2]
	for _, at := range places {
		spoil(t, fs, rotten, at)
	}

	s = reopen(t, fs)
	defer func() { _ = s.Close() }()
	s.rot.pause = time.Millisecond
	if _, err := s.Purge(t.Context(), store.PurgeRequest{Finished: time.Microsecond}); err != nil {
		t.Fatal(err)
	}
	until(t, "the file is found", func() bool { compact(t, s); return s.rot.rotten() == 1 })
	if !slices.Contains(blobs(t, fs), rotten) {
		t.Fatalf("%s is gone", rotten)
	}
	illegible := 0
	for _, id := range slices.Concat(others, inside) {
		if _, err := s.Message(t.Context(), id); errors.Is(err, store.ErrCorrupt) {
			illegible++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if illegible == 0 || illegible > len(inside) {
		t.Errorf("%d messages can not be read", illegible)
	}

	// Pebble counts those that failed among the rewrites.
	rewritten := func() int64 { return s.db.Metrics().Compact.BlobFileRewriteCount - s.db.Metrics().Compact.FailedCount }
	before := rewritten()
	for i, id := range others {
		if i%10 != 0 {
			remove(t, s, id)
		}
	}
	until(t, "others are rewritten", func() bool { compact(t, s); return rewritten() > before })

	until(t, "it is written down", func() bool { return s.rot.read()[rotten] == maxStrikes })
	if n := s.rot.rotten(); n != 1 {
		t.Errorf("%d files are rotten", n)
	}
	for _, id := range inside {
		remove(t, s, id)
	}
	until(t, "the file is gone", func() bool { compact(t, s); return s.rot.rotten() == 0 })
	until(t, "it is not written down", func() bool { return s.rot.read()[rotten] == 0 })
	if slices.Contains(blobs(t, fs), rotten) {
		t.Errorf("%s is still there", rotten)
	}
}

func remove(t *testing.T, s *Store, id store.MessageID) {
	t.Helper()
	if err := s.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// compact has Pebble tidy up. It looks for a file to rewrite only after it has written
// something.
func compact(t *testing.T, s *Store) {
	t.Helper()
	if err := errors.Join(s.db.Delete([]byte{spaceMeta, 'n'}, pebble.NoSync), s.db.Flush(), s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false)); err != nil {
		t.Fatal(err)
	}
}

// The file over which processes end is left alone by the one after them, and no other.
func TestAFileIsNotRewrittenAfterProcessesHaveEndedOverIt(t *testing.T) {
	fs := vfs.NewMem()
	s := reopen(t, fs)
	fill(t, s, 10, 10)
	if err := errors.Join(s.db.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	num, err := strconv.ParseUint(strings.TrimSuffix(blobs(t, fs)[0], blobSuffix), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	var info pebble.BlobFileRewriteInfo
	reflect.ValueOf(&info.Input.DiskFileNum).Elem().SetUint(num) // its type is Pebble's own
	again := func() *rot {
		r := newRot("store", fs, newFence(fs, func(error) {}, func() bool { return false }), zap.NewNop())
		r.load()
		r.begin(info)
		return r
	}
	for range 2 * maxStrikes { // most rewrites go well
		r := again()
		if err := r.ahead(); err != nil {
			t.Fatal(err)
		}
		r.end(info)
		r.writers.Wait()
	}
	for range maxStrikes {
		if err := again().ahead(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		r := again()
		if err := r.ahead(); err == nil || r.rotten() != 1 {
			t.Fatal("a file is rewritten that has ended so many processes")
		}
		info.Err = errRotten
		r.end(info)
		if !r.rests() {
			t.Error("the same file is wanted again at once")
		}
	}
	if err := fs.Remove(path.Join("store", blobs(t, fs)[0])); err != nil {
		t.Fatal(err)
	}
	if again().rotten() != 0 {
		t.Error("a file that is gone is still spoken of")
	}
}

// stuck is a file system on which rotFile can not be created before it is released.
type stuck struct {
	vfs.FS
	creates, release chan struct{}
}

func (s *stuck) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if path.Base(name) == rotFile {
		s.creates <- struct{}{}
		<-s.release
	}
	return s.FS.Create(name, category)
}

// A disk that hangs while it is written down which file is rewritten holds up neither
// Pebble, which asks under its own lock, nor whoever asks how the store is.
func TestStrikesThatCanNotBeWrittenDownKeepNobodyWaiting(t *testing.T) {
	fs := &stuck{FS: vfs.NewMem(), creates: make(chan struct{}, 2), release: make(chan struct{})}
	s := reopen(t, fs)
	fill(t, s, 10, 10)
	if err := errors.Join(s.db.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	r := newRot("store", fs, newFence(fs, func(error) {}, func() bool { return false }), zap.NewNop())
	r.input = blobs(t, fs)[0]
	ahead := make(chan error, 1)
	go func() { ahead <- r.ahead() }()
	<-fs.creates
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if r.rotten() != 0 || r.rests() {
			t.Error("a file is taken for one that has rotted")
		}
		r.end(pebble.BlobFileRewriteInfo{})
	}()
	select {
	case <-asked:
	case <-time.After(10 * time.Second):
		t.Error("all wait for the disk")
	}
	close(fs.release)
	if err := <-ahead; err != nil {
		t.Error(err)
	}
	<-asked
	if r.writers.Wait(); len(r.read()) != 0 {
		t.Errorf("%v is written down after the end", r.read())
	}
}

// That a file is gone is news only of one that could not be read: the process that
// rewrote another may have been killed over it.
func TestOnlyAFileThatHasRottedIsSaidToBeGone(t *testing.T) {
	fs := vfs.NewMem()
	core, said := observer.New(zap.InfoLevel)
	r := newRot("store", fs, newFence(fs, func(error) {}, func() bool { return false }), zap.New(core))
	if err := fs.MkdirAll("store", 0o700); err != nil {
		t.Fatal(err)
	}
	r.strike("1.blob", 1)
	r.strike("2.blob", maxStrikes)
	r.write()
	for _, name := range []string{"1.blob", "2.blob", "3.blob"} {
		r.deleted(pebble.BlobFileDeleteInfo{Path: path.Join("store", name)})
	}
	if all := said.All(); len(all) != 1 || all[0].ContextMap()["file"] != "2.blob" {
		t.Errorf("said %v", all)
	}
	if known := r.read(); len(known) != 0 || r.rotten() != 0 {
		t.Errorf("%v is known", known)
	}
}
