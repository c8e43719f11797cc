// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var lifecycleChecks = []check{
	{"is_healthy_while_open", checkHealthy},
	{"tells_its_time", checkNow},
	{"answers_nothing_after_close", checkClosed},
	{"can_be_closed_twice", checkClosedTwice},
	{"can_be_closed_while_in_use", checkClosedInUse},
}

func checkHealthy(x *fixture) {
	h := x.store.Health()
	same(x, "error", h.Err, nil)
	same(x, "location is told", h.Location != "", true)
	x.accept(x.acceptance("a"))
	same(x, "error", x.store.Health().Err, nil)
}

func checkNow(x *fixture) {
	same(x, "time", x.store.Now(), x.clock.Now())
	x.clock.advance(time.Hour)
	same(x, "time an hour later", x.store.Now(), x.clock.Now())
	same(x, "age of what was an hour ago", x.store.Age(x.clock.Now().Add(-time.Hour)), time.Hour)
	same(x, "age of what is to come", x.store.Age(x.clock.Now().Add(time.Hour)), 0)
	same(x, "time of a delivery", x.pending("a").CreatedAt, x.store.Now())
	if err := x.store.Close(); err != nil {
		x.Fatalf("Close: %v", err)
	}
	same(x, "time after Close", x.store.Now(), x.clock.Now())
}

// operations calls every method of a store that can fail.
func operations(ctx context.Context, s store.Store, x *fixture) map[string]error {
	d := store.DeliveryID{Message: x.ids.next(), N: 1}
	failed := make(map[string]error)
	_, failed["Accept"] = s.Accept(ctx, []store.Acceptance{x.acceptance("a")})
	_, failed["Claim"] = s.Claim(ctx, store.ClaimRequest{Destination: "a", Limit: 1, Lease: lease})
	_, failed["Hasten"] = s.Hasten(ctx, "a", 1)
	_, failed["Extend"] = s.Extend(ctx, []store.Lease{{Delivery: d, Epoch: 1}}, lease)
	_, failed["Finish"] = s.Finish(ctx, []store.Finish{{Lease: store.Lease{Delivery: d, Epoch: 1}, State: store.Delivered}})
	_, failed["Redrive"] = s.Redrive(ctx, d)
	_, failed["Replay"] = s.Replay(ctx, d.Message, "a")
	_, failed["Cancel"] = s.Cancel(ctx, d)
	failed["Delete"] = s.Delete(ctx, d.Message)
	_, failed["Message"] = s.Message(ctx, d.Message)
	_, failed["Deliveries"] = s.Deliveries(ctx, d.Message)
	_, failed["Attempts"] = s.Attempts(ctx, d)
	_, failed["ListMessages"] = s.ListMessages(ctx, store.MessageQuery{Limit: 1})
	_, failed["ListDeliveries"] = s.ListDeliveries(ctx, store.DeliveryQuery{Limit: 1})
	_, failed["Recall"] = s.Recall(ctx, keyOf("k"), window)
	_, failed["Remember"] = s.Remember(ctx, keyOf("k"), d.Message, window)
	_, failed["Books"] = s.Books(ctx)
	_, failed["Purge"] = s.Purge(ctx, store.PurgeRequest{})
	failed["PutEntity"] = s.PutEntity(ctx, &store.Tenant{ID: "one"})
	_, failed["Entity"] = s.Entity(ctx, store.EntityKey{Kind: store.KindTenant, ID: "one"})
	_, failed["ListEntities"] = s.ListEntities(ctx, store.EntityQuery{Kind: store.KindTenant, Limit: 1})
	failed["DeleteEntity"] = s.DeleteEntity(ctx, store.EntityKey{Kind: store.KindTenant, ID: "one"})
	return failed
}

func checkClosed(x *fixture) {
	x.accept(x.acceptance("a"))
	caps := x.store.Caps()
	if err := x.store.Close(); err != nil {
		x.Fatalf("Close: %v", err)
	}
	for method, err := range operations(x.Context(), x.store, x) {
		wants(x, method+" after Close", err, store.ErrClosed)
	}
	wants(x, "Health after Close", x.store.Health().Err, store.ErrClosed)
	same(x, "caps after Close", x.store.Caps(), caps)
}

func checkClosedTwice(x *fixture) {
	if err := x.store.Close(); err != nil {
		x.Fatalf("Close: %v", err)
	}
	if err := x.store.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
		x.Fatalf("second Close: %v, want none or one that wraps %q", err, store.ErrClosed)
	}
}

func checkClosedInUse(x *fixture) {
	var working sync.WaitGroup
	working.Add(workers)
	x.together(func(worker int) {
		if worker == 0 {
			working.Done()
			working.Wait()
			if err := x.store.Close(); err != nil {
				x.Errorf("Close: %v", err)
			}
			return
		}
		for i := 0; ; i++ {
			a := x.keyed(fmt.Sprint(worker, i), "a")
			_, err := x.store.Accept(x.Context(), []store.Acceptance{a})
			if i == 0 {
				working.Done()
			}
			if errors.Is(err, store.ErrClosed) {
				return
			}
			if err != nil {
				x.Errorf("Accept: %v", err)
				return
			}
			x.store.Health()
		}
	})
}
