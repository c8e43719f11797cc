// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync"
	"sync/atomic"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// waiters are the senders whose deliveries are not handed over with their message
// but fetched from the store, since others were first or are being fetched.
type waiters struct {
	count atomic.Int32 // so that nobody else needs the lock

	mu   sync.Mutex
	byID map[store.DeliveryID]*Waiter
}

// add notes who waits for the first attempt of a delivery, until it leaves.
func (ws *waiters) add(id store.DeliveryID, w *Waiter) {
	ws.mu.Lock()
	if ws.byID == nil {
		ws.byID = make(map[store.DeliveryID]*Waiter)
	}
	ws.byID[id] = w
	ws.count.Store(int32(len(ws.byID)))
	ws.mu.Unlock()
	w.onLeave(func() { ws.take(id) })
}

// take takes out who waits for a delivery, nil if nobody does.
func (ws *waiters) take(id store.DeliveryID) *Waiter {
	if ws.count.Load() == 0 {
		return nil
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.byID[id]
	delete(ws.byID, id)
	ws.count.Store(int32(len(ws.byID)))
	return w
}

// dismiss lets all go without an answer.
func (ws *waiters) dismiss() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.byID {
		w.settle(false)
	}
	clear(ws.byID)
	ws.count.Store(0)
}

// enlist notes who waits for a message that is about to be committed without a
// place in the window of its destination, or whose place it may not need, since
// others are before it in its lane. It is done before the commit, as the delivery
// may be fetched right after it.
func (s *session) enlist(in *Inbound, deliveries []store.NewDelivery) {
	if in.Waiter == nil || len(deliveries) != 1 || deliveries[0].Lease > 0 && deliveries[0].OrderKey == "" {
		return
	}
	if !s.dispatcher.tries(deliveries[0].Destination) {
		in.Waiter.settle(false)
		return
	}
	s.dispatcher.waiters.add(store.DeliveryID{Message: in.Message.ID, N: 1}, in.Waiter)
}
