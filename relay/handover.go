// SPDX-License-Identifier: Apache-2.0

package relay

import "github.com/caddy-relay/caddy-relay/relay/store"

// handOver tells the dispatcher about the deliveries of a message that is now
// durable. Those that were leased on the way in keep the message in memory. The
// destinations of those that have to be claimed join stored.
func (s *session) handOver(e *entry, asked *store.Acceptance, got *store.Accepted, stored map[string]struct{}) {
	in := &e.inbound
	if got.Verdict != store.Fresh {
		in.Waiter.settle(false)
		s.abandon(asked.Deliveries)
		in.Reservation.Release()
		for i := range got.Deliveries {
			stored[got.Deliveries[i].Destination] = struct{}{}
		}
		return
	}
	h := s.hold(in)
	in.Waiter.keep(h)
	for i := range got.Deliveries {
		d := &got.Deliveries[i]
		if d.State != store.Leased {
			if asked.Deliveries[i].Lease > 0 {
				s.dispatcher.post(event{kind: unreserved, destination: d.Destination})
			}
			if !d.Blocked() {
				stored[d.Destination] = struct{}{}
			}
			continue
		}
		h.add()
		s.dispatcher.post(event{kind: handedOver, destination: d.Destination, leased: &leased{delivery: *d, hold: h, waiter: in.Waiter}})
	}
	h.drop()
}

// hold keeps a message in memory while there is enough of it. Else it returns
// nil, and the message will be read from the store when it is sent.
func (s *session) hold(in *Inbound) *hold {
	if in.Reservation == nil {
		in.Reservation = s.engine.budget.Reserve(in.Message.Source)
		if !in.Reservation.Grow(int64(len(in.Message.Request.Body))) {
			return nil
		}
	}
	if !in.Reservation.spare() {
		in.Reservation.Release()
		return nil
	}
	h := &hold{message: in.Message, reservation: in.Reservation}
	h.refs.Store(1)
	return h
}

// abandon gives the places back that were reserved for deliveries that were not
// made.
func (s *session) abandon(deliveries []store.NewDelivery) {
	for i := range deliveries {
		if deliveries[i].Lease > 0 {
			s.dispatcher.post(event{kind: unreserved, destination: deliveries[i].Destination})
		}
	}
}
