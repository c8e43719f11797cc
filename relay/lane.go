// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// lane identifies the deliveries of one destination that share an order key.
type lane struct{ destination, key string }

// lanes keeps attempts of one lane apart. The store gives out only the head of a
// lane; but when a head is canceled or deleted while it is tried, the next one is
// due before that attempt has ended.
type lanes struct {
	mu   sync.Mutex
	busy map[lane]chan struct{} // closed when the attempt has ended
}

// enter waits until no attempt of the delivery's lane runs, and reports whether
// that came before ctx ended. The function that it returns must be called when
// the attempt has ended.
func (ls *lanes) enter(ctx context.Context, d *store.Delivery) (leave func(), ok bool) {
	l := lane{d.Destination, d.OrderKey}
	for {
		ls.mu.Lock()
		ended, busy := ls.busy[l]
		if !busy {
			break
		}
		ls.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, false
		}
	}
	defer ls.mu.Unlock()
	if ls.busy == nil {
		ls.busy = make(map[lane]chan struct{})
	}
	ended := make(chan struct{})
	ls.busy[l] = ended
	return func() {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		delete(ls.busy, l)
		close(ended)
	}, true
}

// inLane is try, with no other attempt of the delivery's lane beside it, and none
// at all where the delivery has been taken away: those behind it may have been
// tried by then.
func (d *dispatcher) inLane(t *target, j *leased) (found condition, later time.Duration) {
	if j.delivery.Place == 0 {
		return d.try(t, j)
	}
	lease := j.delivery.Lease()
	leave, ok := d.lanes.enter(d.session.attempts, &j.delivery)
	if !ok {
		d.session.finisher.add(record{finish: store.Finish{Lease: lease, State: store.Pending}})
		return unknown, 0
	}
	defer leave()
	lost, err := d.session.store.Extend(context.Background(), []store.Lease{lease}, leaseForever)
	switch {
	case err != nil:
		d.session.storeError("checking a lease", err)
		d.putOff(j)
		return unknown, 0
	case len(lost) > 0:
		return unknown, 0
	}
	return d.try(t, j)
}
