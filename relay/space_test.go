// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

const mebibyte = 1 << 20

func TestMinFreeByDefault(t *testing.T) {
	for _, c := range []struct {
		limits       DiskLimits
		volume, want int64
	}{
		{DiskLimits{}, 64 * mebibyte, 128 * mebibyte},
		{DiskLimits{}, 20_000 * mebibyte, 1000 * mebibyte},
		{DiskLimits{}, 1_000_000 * mebibyte, 4096 * mebibyte},
		{DiskLimits{MinFree: 3}, 64 * mebibyte, 3},
		{DiskLimits{MinFreePercent: 10}, 64 * mebibyte, 64 * mebibyte / 10},
		{DiskLimits{MinFreePercent: 50}, 1_000_000 * mebibyte, 500_000 * mebibyte},
	} {
		if got := c.limits.minFree(c.volume); got != c.want {
			t.Errorf("%+v on %d: %d, want %d", c.limits, c.volume, got, c.want)
		}
	}
}

func TestDiskStateComesAndGoesByItsMarks(t *testing.T) {
	limits := DiskLimits{MinFree: 80 * mebibyte, MaxUsed: 1000 * mebibyte}
	for _, c := range []struct {
		free, used int64 // MiB
		ended      bool
		was, want  DiskState
	}{
		{200, 0, false, DiskAmple, DiskAmple},
		{159, 0, false, DiskAmple, DiskShort},
		{165, 0, false, DiskShort, DiskShort},
		{171, 0, false, DiskShort, DiskAmple},
		{79, 0, false, DiskShort, DiskFull},
		{85, 0, false, DiskShort, DiskShort},
		{85, 0, false, DiskFull, DiskFull},
		{91, 0, false, DiskFull, DiskShort},
		{500, 0, false, DiskFull, DiskAmple},
		{500, 899, false, DiskAmple, DiskAmple},
		{500, 901, false, DiskAmple, DiskShort},
		{500, 1000, false, DiskAmple, DiskFull},
		{500, 980, false, DiskFull, DiskFull},
		{500, 960, false, DiskFull, DiskShort},
		{500, 0, true, DiskAmple, DiskFull},
	} {
		v := limits.view(&store.Health{VolumeBytes: 1 << 40, FreeBytes: uint64(c.free) * mebibyte, UsedBytes: uint64(c.used) * mebibyte, Full: c.ended})
		if got := v.state(c.was); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	unknown := limits.view(&store.Health{})
	if got := unknown.state(DiskAmple); got != DiskAmple {
		t.Errorf("a store that can not tell is %s", got)
	}
}

// volume gives a rig's store a disk.
type volume struct{ free, used atomic.Int64 }

func (r *rig) mount(v *volume) {
	v.free.Store(10_000 * mebibyte)
	r.store.health.set(func(h *store.Health) {
		h.VolumeBytes = 100_000 * mebibyte
		h.FreeBytes, h.UsedBytes = uint64(v.free.Load()), uint64(v.used.Load())
	})
}

// limit puts a generation with disk limits in force.
func (r *rig) limit(l DiskLimits) {
	g := *r.generation
	g.Disk = l
	r.Attach(&g)
}

func TestP10_NothingIsAcceptedBelowMinFreeWhileDeliveriesGoOn(t *testing.T) {
	bubble(t, refuses, func(t *testing.T, r *rig) {
		var v volume
		r.mount(&v)
		r.generation.Retention = 0 // so that it can be looked at
		r.limit(DiskLimits{MinFree: 1000 * mebibyte})
		before := r.accept("before")
		settle(100 * time.Millisecond)
		r.upstream.set(nil)
		v.free.Store(999 * mebibyte)
		settle(spaceEvery)
		if _, err := r.Accept(t.Context(), r.inbound("full")); !errors.Is(err, ErrDiskFull) {
			t.Errorf("Accept: %v", err)
		}
		in := r.inbound("full")
		in.Reservation.Release()
		if _, _, err := r.Pass(t.Context(), in.Message, in.Identity, in.Window); !errors.Is(err, ErrDiskFull) {
			t.Errorf("Pass: %v", err)
		}
		if h := r.Health(); !errors.Is(h.Err, ErrDiskFull) || h.Disk != DiskFull {
			t.Errorf("Health: %+v", h)
		}
		settle(time.Minute)
		r.expect(before.ID, store.Delivered, 2)
		v.free.Store(5000 * mebibyte)
		settle(spaceEvery)
		r.accept("after")
		if h := r.Health(); h.Err != nil || h.Disk != DiskAmple {
			t.Errorf("Health: %+v", h)
		}
		if n := r.said.FilterMessageSnippet("nothing is accepted until there is space").Len(); n != 1 {
			t.Errorf("the operator was told %d times", n)
		}
		settle(time.Minute)
	})
}

func TestP10_ABurstStopsAtTheMarkBeforeTheDiskIsLookedAtAgain(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		var v volume
		r.mount(&v)
		v.free.Store(1010 * mebibyte)
		r.limit(DiskLimits{MinFree: 1000 * mebibyte})
		taken := 0
		for i := range 100 {
			body := fmt.Sprint(i, string(make([]byte, mebibyte)))
			if _, err := r.Accept(t.Context(), r.inbound(body)); err == nil {
				taken++
			} else if !errors.Is(err, ErrDiskFull) {
				t.Fatal(err)
			}
		}
		if taken != 4 { // each is written twice
			t.Errorf("%d MiB were taken where 10 were left", taken)
		}
		settle(time.Minute)
	})
}

func TestHistoryIsShortenedOldestFirstWhereSpaceIsShort(t *testing.T) {
	for _, forEver := range []bool{false, true} {
		t.Run(fmt.Sprintf("for ever %t", forEver), func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				var v volume
				r.mount(&v)
				r.generation.Retention = time.Hour
				if forEver {
					r.generation.Retention = 0
				}
				var ids []store.MessageID
				for i := range 4 {
					ids = append(ids, r.accept(fmt.Sprint(i, string(make([]byte, 100<<10)))).ID)
				}
				settle(time.Second)
				v.free.Store(2000*mebibyte - 1)
				r.limit(DiskLimits{MinFree: 1000 * mebibyte})
				// With the margin all four would have to go, and many more.
				settle(10 * time.Second)
				_, err := r.store.Message(t.Context(), ids[3])
				if gone := errors.Is(err, store.ErrNotFound); gone == forEver {
					t.Errorf("after a shortage of free space: %v", err)
				}
				v.free.Store(10_000 * mebibyte)
				v.used.Store(900 * mebibyte)
				r.limit(DiskLimits{MaxUsed: 1000 * mebibyte})
				settle(10 * time.Second)
				if _, err := r.store.Message(t.Context(), ids[0]); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("over max_disk: %v", err)
				}
			})
		})
	}
}

func TestHeadsOfAnswersAreNotKeptWhereSpaceIsShort(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		var v volume
		r.mount(&v)
		r.upstream.set(func(ctx context.Context, a Attempt) Result {
			result := refuses(ctx, a)
			result.Head = []byte("sorry")
			return result
		})
		r.limit(DiskLimits{MinFree: 1000 * mebibyte})
		head := func(body string) string {
			id := r.accept(body).ID
			settle(500 * time.Millisecond)
			attempts, err := r.store.Attempts(t.Context(), store.DeliveryID{Message: id, N: 1})
			if err != nil || len(attempts) == 0 {
				t.Fatalf("%d attempts, %v", len(attempts), err)
			}
			return string(attempts[0].Head)
		}
		if got := head("ample"); got != "sorry" {
			t.Errorf("head %q while there is space", got)
		}
		v.free.Store(1500 * mebibyte)
		settle(spaceEvery)
		if got := head("short"); got != "" {
			t.Errorf("head %q while space is short", got)
		}
	})
}

func TestP13_AGenerationIsToldOnceOfEachFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		var told atomic.Int64
		g := *r.generation
		g.Failed = func(err error) {
			if !errors.Is(err, store.ErrFailed) {
				t.Errorf("told of %v", err)
			}
			told.Add(1)
		}
		r.Attach(&g)
		r.accept("a")
		settle(time.Second)
		// Nobody comes: the janitor sees it.
		r.store.health.set(func(h *store.Health) { h.Err = store.ErrFailed })
		settle(janitorEvery)
		r.store.health.set(nil)
		settle(time.Minute)
		if n := told.Load(); n != 1 {
			t.Errorf("told %d times", n)
		}
		r.accept("b")
		settle(time.Second)
		r.close()
	})
}

func TestP10_NothingIsAcceptedWhileTheStoreLivesOnItsReserve(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		r.store.health.set(func(h *store.Health) { h.VolumeBytes, h.FreeBytes, h.Full = 1<<40, 1<<39, true })
		r.limit(DiskLimits{})
		if _, err := r.Accept(t.Context(), r.inbound("full")); !errors.Is(err, ErrDiskFull) {
			t.Errorf("Accept: %v", err)
		}
		r.store.health.set(nil)
		settle(spaceEvery)
		r.accept("after")
	})
}
