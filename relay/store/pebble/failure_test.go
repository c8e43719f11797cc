// SPDX-License-Identifier: Apache-2.0

package pebble_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// patience bounds what must not hang.
const patience = 20 * time.Second

// disk is a file system in memory that can break.
type disk struct {
	*errorfs.FS
	mem    *vfs.MemFS
	broken atomic.Pointer[func(errorfs.Op) error]
}

func newDisk() *disk {
	d := &disk{mem: vfs.NewCrashableMem()}
	d.FS = errorfs.Wrap(d.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken := d.broken.Load(); broken != nil {
			return (*broken)(op)
		}
		return nil
	}))
	return d
}

func (d *disk) breakWith(f func(errorfs.Op) error) { d.broken.Store(&f) }
func (d *disk) heal()                              { d.broken.Store(nil) }

// message returns a message with a key, for one destination.
func message(n int) store.Acceptance {
	id := store.MessageID(ulid.Make())
	body := fmt.Appendf(nil, "body %d of %s", n, id)
	return store.Acceptance{
		Message: &store.Message{ID: id, Source: "s", BodySum: sha256.Sum256(body), Request: store.Request{Body: body}},
		Key:     key(n), Window: time.Hour,
		Deliveries: []store.NewDelivery{{Destination: "d"}},
	}
}

func key(n int) store.DedupeKey {
	sum := sha256.Sum256(fmt.Append(nil, n))
	return store.DedupeKey(sum[:16])
}

func accept(s store.Store, batch ...store.Acceptance) ([]store.Accepted, error) {
	return s.Accept(context.Background(), batch)
}

// within fails the test where f hangs.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s hangs", what)
	}
}

func isWAL(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") }

func isSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
}

// faults are errors of the disk, each of which has to fail the store at once.
var faults = map[string]func(errorfs.Op) error{
	"sync of the log": func(op errorfs.Op) error {
		if isWAL(op) && isSync(op) {
			return syscall.EIO
		}
		return nil
	},
	"sync of the log on a full disk": func(op errorfs.Op) error {
		if isWAL(op) && isSync(op) {
			return syscall.ENOSPC
		}
		return nil
	},
	"write of the log": func(op errorfs.Op) error {
		if isWAL(op) && op.Kind == errorfs.OpFileWrite {
			return syscall.EIO
		}
		return nil
	},
	"everything": func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.EIO
		}
		return nil
	},
}

func TestP2_P13_DiskErrorAnswersNobody(t *testing.T) {
	t.Parallel()
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDisk()
			s := open(t, "store", pebble.Options{FS: d})
			acked := message(0)
			if _, err := accept(s, acked); err != nil {
				t.Fatal(err)
			}
			d.breakWith(fault)
			within(t, "accepting on a broken disk", func() { acceptInVain(t, s) })
			checkFailed(t, s)
			within(t, "closing a failed store", func() { _ = s.Close() })
			if err := s.Health().Err; !errors.Is(err, store.ErrFailed) {
				t.Errorf("Health after Close: %v", err)
			}
			d.heal()
			s = open(t, "store", pebble.Options{FS: d})
			checkHas(t, s, acked)
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// acceptInVain sends messages and their duplicates from many goroutines.
func acceptInVain(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for range 3 {
				if seen, err := s.Remember(context.Background(), key(1+i%4), store.MessageID(ulid.Make()), time.Hour); !errors.Is(err, store.ErrFailed) {
					t.Errorf("Remember answered %+v, %v", seen, err)
				}
				if a, err := accept(s, message(1+i%4)); !errors.Is(err, store.ErrFailed) {
					t.Errorf("Accept answered %+v, %v", a, err)
				}
			}
		})
	}
	wg.Wait()
}

// checkFailed checks that a store answers nothing.
func checkFailed(t *testing.T, s store.Store) {
	t.Helper()
	ctx := t.Context()
	id := store.DeliveryID{Message: store.MessageID(ulid.Make()), N: 1}
	errs := make(map[string]error)
	within(t, "using a failed store", func() {
		_, errs["duplicate"] = accept(s, message(0))
		_, errs["Claim"] = s.Claim(ctx, store.ClaimRequest{Destination: "d", Limit: 1, Lease: time.Minute})
		_, errs["Hasten"] = s.Hasten(ctx, "d", 1)
		_, errs["Extend"] = s.Extend(ctx, nil, time.Minute)
		_, errs["Finish"] = s.Finish(ctx, nil)
		_, errs["Redrive"] = s.Redrive(ctx, id)
		_, errs["Replay"] = s.Replay(ctx, id.Message, "d")
		_, errs["Cancel"] = s.Cancel(ctx, id)
		errs["Delete"] = s.Delete(ctx, id.Message)
		_, errs["Message"] = s.Message(ctx, id.Message)
		_, errs["Deliveries"] = s.Deliveries(ctx, id.Message)
		_, errs["Attempts"] = s.Attempts(ctx, id)
		_, errs["ListMessages"] = s.ListMessages(ctx, store.MessageQuery{Limit: 1})
		_, errs["ListDeliveries"] = s.ListDeliveries(ctx, store.DeliveryQuery{Limit: 1})
		_, errs["Recall"] = s.Recall(ctx, key(0), time.Hour)
		_, errs["Remember"] = s.Remember(ctx, key(1_000_000), id.Message, time.Hour)
		_, errs["Books"] = s.Books(ctx)
		_, errs["Purge"] = s.Purge(ctx, store.PurgeRequest{})
		errs["PutEntity"] = s.PutEntity(ctx, &store.Tenant{ID: "t"})
		errs["Health"] = s.Health().Err
	})
	for method, err := range errs {
		if !errors.Is(err, store.ErrFailed) {
			t.Errorf("%s on a failed store: %v", method, err)
		}
	}
}

// checkHas checks that a message is there as it was accepted.
func checkHas(t *testing.T, s store.Store, a store.Acceptance) {
	t.Helper()
	m, err := s.Message(t.Context(), a.Message.ID)
	if err != nil {
		t.Fatalf("message that was accepted: %v", err)
	}
	if !m.Intact() || string(m.Request.Body) != string(a.Message.Request.Body) {
		t.Errorf("body of %s is not the one that was accepted", m.ID)
	}
	again := a
	again.Message = message(0).Message
	answers, err := accept(s, again)
	if err != nil {
		t.Fatal(err)
	}
	if answers[0].Verdict == store.Fresh || answers[0].Message != a.Message.ID {
		t.Errorf("duplicate of %s answered %+v", a.Message.ID, answers[0])
	}
}

func TestP2_DuplicateWaitsForTheOriginal(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("fails=%t", fails), func(t *testing.T) {
			d := newDisk()
			s := open(t, "store", pebble.Options{FS: d})
			syncing, release := make(chan struct{}, 100), make(chan struct{})
			var released atomic.Bool
			d.breakWith(func(op errorfs.Op) error {
				if !isWAL(op) || !isSync(op) {
					return nil
				}
				syncing <- struct{}{}
				<-release
				if fails {
					return syscall.EIO
				}
				return nil
			})
			var wg sync.WaitGroup
			send := func() {
				a, err := accept(s, message(1))
				if !released.Load() {
					t.Errorf("answered %+v, %v before the sync has ended", a, err)
				}
				if fails != errors.Is(err, store.ErrFailed) || !fails && err != nil {
					t.Errorf("Accept: %+v, %v", a, err)
				}
			}
			wg.Go(send)
			<-syncing // the original's commit is on its way
			for range 8 {
				wg.Go(send)
			}
			for deadline := time.Now().Add(50 * time.Millisecond); time.Now().Before(deadline); {
				s.Health() // gives a duplicate that does not wait the time to be seen
			}
			released.Store(true)
			close(release)
			within(t, "accepting", wg.Wait)
			within(t, "closing", func() { _ = s.Close() })
		})
	}
}

func TestT5_FullDiskStopsNothingForGood(t *testing.T) {
	d := newDisk()
	s := open(t, "store", pebble.Options{FS: d, MemTableSize: 256 << 10})
	full := make(chan struct{}, 1)
	d.breakWith(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate {
			select {
			case full <- struct{}{}:
			default:
			}
			return syscall.ENOSPC
		}
		return nil
	})
	var wg sync.WaitGroup
	var all []store.Acceptance
	for i := range 64 {
		a := message(i)
		a.Message.Request.Body = make([]byte, 16<<10)
		a.Message.BodySum = sha256.Sum256(a.Message.Request.Body)
		all = append(all, a)
		wg.Go(func() {
			if _, err := accept(s, a); err != nil {
				t.Errorf("Accept: %v", err)
			}
		})
	}
	<-full
	within(t, "Health on a full disk", func() {
		if err := s.Health().Err; err != nil {
			t.Errorf("Health: %v", err)
		}
	})
	d.heal()
	within(t, "accepting when there is space again", wg.Wait)
	for _, a := range all {
		checkHas(t, s, a)
	}
	within(t, "closing", func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestCloseOnFullDiskEnds(t *testing.T) {
	d := newDisk()
	s := open(t, "store", pebble.Options{FS: d})
	d.breakWith(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite {
			return syscall.ENOSPC
		}
		return nil
	})
	done := make(chan error, 1)
	go func() {
		_, err := accept(s, message(1))
		done <- err
	}()
	within(t, "closing on a full disk", func() { _ = s.Close() })
	if err := <-done; !errors.Is(err, store.ErrFailed) && !errors.Is(err, store.ErrClosed) {
		t.Errorf("Accept on a full disk: %v", err)
	}
	d.heal()
	s = open(t, "store", pebble.Options{FS: d})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
