// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// drawAcceptance returns a random acceptance of a new message.
func (m *machine) drawAcceptance(r *rapid.T) store.Acceptance {
	message := m.ids.message(rapid.SampledFrom([]string{"shop", "shop2"}).Draw(r, "source"))
	message.Type = rapid.SampledFrom([]string{"", "t", "t2"}).Draw(r, "type")
	message.Tenant = rapid.SampledFrom([]string{"", "acme"}).Draw(r, "tenant")
	a := store.Acceptance{Message: message, Window: window, Redeliver: rapid.Bool().Draw(r, "redeliver")}
	if key := rapid.IntRange(0, 4).Draw(r, "key"); key > 0 {
		a.Key = keyOf(fmt.Sprint(key))
		message.EventID = fmt.Sprint("evt", key)
	}
	for range rapid.IntRange(0, 3).Draw(r, "deliveries") {
		a.Deliveries = append(a.Deliveries, store.NewDelivery{
			Destination: rapid.SampledFrom(machineDestinations).Draw(r, "destination"),
			OrderKey:    rapid.SampledFrom([]string{"", "k", "k", "k2"}).Draw(r, "order key"),
			Lease:       rapid.SampledFrom([]time.Duration{0, lease}).Draw(r, "lease"),
		})
	}
	m.messages = append(m.messages, message.ID)
	return a
}

func (m *machine) accept(r *rapid.T) {
	var batch []store.Acceptance
	for range rapid.IntRange(1, 3).Draw(r, "batch") {
		batch = append(batch, m.drawAcceptance(r))
	}
	want, failed := m.model.Accept(m.ctx, batch)
	got, err := m.tested.Accept(m.ctx, batch)
	sameError(r, err, failed)
	m.compareAccepted(r, got, want)
}

func (m *machine) compareAccepted(r *rapid.T, got, want []store.Accepted) {
	same(r, "accepted", unfencedAccepted(got), unfencedAccepted(want))
	for i := range want {
		m.remember(want[i].Deliveries, got[i].Deliveries)
	}
}

// drawKey returns one of the keys that acceptances have, or none.
func drawKey(r *rapid.T) store.DedupeKey {
	if key := rapid.IntRange(0, 4).Draw(r, "key"); key > 0 {
		return keyOf(fmt.Sprint(key))
	}
	return store.DedupeKey{}
}

func (m *machine) recall(r *rapid.T) {
	key := drawKey(r)
	want, failed := m.model.Recall(m.ctx, key, window)
	got, err := m.tested.Recall(m.ctx, key, window)
	sameError(r, err, failed)
	same(r, "recalled", plainSighting(got), plainSighting(want))
}

func (m *machine) rememberKey(r *rapid.T) {
	key, id := drawKey(r), m.ids.next()
	want, failed := m.model.Remember(m.ctx, key, id, window)
	got, err := m.tested.Remember(m.ctx, key, id, window)
	sameError(r, err, failed)
	same(r, "remembered", plainSighting(got), plainSighting(want))
}

func (m *machine) claim(r *rapid.T) {
	destination := rapid.SampledFrom(machineDestinations).Draw(r, "destination")
	if m.expired(r, destination) {
		m.claimAll(r, destination)
		return
	}
	req := store.ClaimRequest{
		Destination: destination,
		Limit:       rapid.IntRange(1, 4).Draw(r, "limit"),
		Lease:       rapid.SampledFrom([]time.Duration{time.Second, lease}).Draw(r, "lease"),
	}
	want, failed := m.model.Claim(m.ctx, req)
	got, err := m.tested.Claim(m.ctx, req)
	sameError(r, err, failed)
	m.compareClaimed(r, got, want)
}

// expired reports whether a destination has a lease that has run out. The
// contract does not say where such a delivery stands in the order.
func (m *machine) expired(r *rapid.T, destination string) bool {
	leased, err := m.model.ListDeliveries(m.ctx, store.DeliveryQuery{Destination: destination, State: store.Leased, Limit: everything})
	sameError(r, err, nil)
	now := m.clock.Now()
	return slices.ContainsFunc(leased, func(d store.Delivery) bool { return !d.LeaseUntil.After(now) })
}

// claimAll claims all that is due of a destination, in whatever order.
func (m *machine) claimAll(r *rapid.T, destination string) {
	req := store.ClaimRequest{Destination: destination, Limit: everything, Lease: lease}
	want, failed := m.model.Claim(m.ctx, req)
	got, err := m.tested.Claim(m.ctx, req)
	sameError(r, err, failed)
	sortByID(want.Deliveries)
	sortByID(got.Deliveries)
	m.compareClaimed(r, got, want)
}

func (m *machine) compareClaimed(r *rapid.T, got, want store.Claimed) {
	same(r, "claimed", unfenced(got.Deliveries), unfenced(want.Deliveries))
	same(r, "more", got.More, want.More)
	same(r, "next", instant(got.Next), instant(want.Next))
	m.remember(want.Deliveries, got.Deliveries)
}

// drawLeases returns some of the leases ever given, newer ones more often.
func (m *machine) drawLeases(r *rapid.T) []leasePair {
	if len(m.leases) == 0 {
		r.Skip("no lease was ever given")
	}
	var drawn []leasePair
	for range rapid.IntRange(1, 3).Draw(r, "leases") {
		back := rapid.IntRange(0, len(m.leases)-1).Draw(r, "lease")
		drawn = append(drawn, m.leases[len(m.leases)-1-back])
	}
	return drawn
}

func (m *machine) extend(r *rapid.T) {
	var model, tested []store.Lease
	for _, pair := range m.drawLeases(r) {
		model = append(model, pair.model)
		tested = append(tested, pair.tested)
	}
	d := rapid.SampledFrom([]time.Duration{time.Second, longestLease}).Draw(r, "duration")
	lost, failed := m.model.Extend(m.ctx, model, d)
	gotLost, err := m.tested.Extend(m.ctx, tested, d)
	sameError(r, err, failed)
	same(r, "lost leases", leaseIDs(gotLost), leaseIDs(lost))
}

// claimByID claims one delivery, of those that a restart claims again: what it makes
// of a lease on another one can be told from none.
func (m *machine) claimByID(r *rapid.T) {
	id := m.drawDelivery(r, store.Pending)
	all, _ := m.model.Deliveries(m.ctx, id.Message)
	if int(id.N) <= len(all) {
		if d := all[id.N-1]; d.DueAt.After(m.clock.Now()) || !slices.Contains(machineDestinations, d.Destination) {
			r.Skip("the delivery is not claimed after a restart")
		}
	}
	want, failed := m.model.ClaimByID(m.ctx, id, lease)
	got, err := m.tested.ClaimByID(m.ctx, id, lease)
	sameError(r, err, failed)
	same(r, "claimed", unfenced([]store.Delivery{got}), unfenced([]store.Delivery{want}))
	if err == nil {
		m.remember([]store.Delivery{want}, []store.Delivery{got})
	}
}

func (m *machine) hasten(r *rapid.T) {
	destination := rapid.SampledFrom(machineDestinations).Draw(r, "destination")
	limit := rapid.IntRange(0, 3).Draw(r, "limit")
	want, failed := m.model.Hasten(m.ctx, destination, limit)
	got, err := m.tested.Hasten(m.ctx, destination, limit)
	sameError(r, err, failed)
	same(r, "hastened", got, want)
}

func leaseIDs(leases []store.Lease) []store.DeliveryID {
	var ids []store.DeliveryID
	for _, l := range leases {
		ids = append(ids, l.Delivery)
	}
	return ids
}

func (m *machine) finish(r *rapid.T) {
	var model, tested []store.Finish
	for _, pair := range m.drawLeases(r) {
		f := store.Finish{
			State: rapid.SampledFrom([]store.State{store.Delivered, store.Dead, store.Waiting, store.Pending, store.Canceled}).Draw(r, "state"),
			Hold:  rapid.Bool().Draw(r, "hold"),
			Delay: rapid.SampledFrom([]time.Duration{0, 5 * time.Second, time.Hour}).Draw(r, "delay"),
		}
		if outcome := rapid.IntRange(0, int(store.Quarantined)).Draw(r, "outcome"); outcome > 0 {
			f.Attempt = attempt(store.Outcome(outcome), 200+outcome, fmt.Sprint("error ", outcome))
			f.Attempt.StartedAt = m.clock.Now()
			f.Attempt.Head = []byte("head")
		}
		if rapid.IntRange(0, 3).Draw(r, "callback") == 0 {
			f.Callbacks = []store.Acceptance{m.drawAcceptance(r)}
		}
		f.Lease = pair.model
		model = append(model, f)
		f.Lease = pair.tested
		tested = append(tested, f)
	}
	want, failed := m.model.Finish(m.ctx, model)
	got, err := m.tested.Finish(m.ctx, tested)
	sameError(r, err, failed)
	same(r, "number of answers", len(got), len(want))
	for i := range want {
		sameError(r, got[i].Err, want[i].Err)
		same(r, "finished", unfenced([]store.Delivery{got[i].Delivery}), unfenced([]store.Delivery{want[i].Delivery}))
		same(r, "released", got[i].Released, want[i].Released)
		m.compareAccepted(r, got[i].Callbacks, want[i].Callbacks)
	}
}

// drawDelivery returns the id of a stored delivery, or of none.
func (m *machine) drawDelivery(r *rapid.T, prefer store.State) store.DeliveryID {
	q := store.DeliveryQuery{Limit: everything}
	if rapid.Bool().Draw(r, "preferred state") {
		q.State = prefer
	}
	all, err := m.model.ListDeliveries(m.ctx, q)
	sameError(r, err, nil)
	i := rapid.IntRange(0, len(all)).Draw(r, "delivery")
	if i == len(all) {
		return store.DeliveryID{Message: m.drawMessage(r), N: 99}
	}
	return all[i].ID
}

// drawMessage returns the id of a message that is or was or never has been.
func (m *machine) drawMessage(r *rapid.T) store.MessageID {
	i := rapid.IntRange(0, len(m.messages)).Draw(r, "message")
	if i == len(m.messages) {
		return m.ids.next()
	}
	return m.messages[i]
}

func (m *machine) redrive(r *rapid.T) {
	id := m.drawDelivery(r, store.Dead)
	want, failed := m.model.Redrive(m.ctx, id)
	got, err := m.tested.Redrive(m.ctx, id)
	sameError(r, err, failed)
	same(r, "re-driven", unfenced([]store.Delivery{got}), unfenced([]store.Delivery{want}))
}

func (m *machine) replay(r *rapid.T) {
	id := m.drawMessage(r)
	destination := rapid.SampledFrom(append([]string{"new"}, machineDestinations...)).Draw(r, "destination")
	want, failed := m.model.Replay(m.ctx, id, destination)
	got, err := m.tested.Replay(m.ctx, id, destination)
	sameError(r, err, failed)
	same(r, "replayed", unfenced([]store.Delivery{got}), unfenced([]store.Delivery{want}))
}

func (m *machine) operate(r *rapid.T) {
	var batch []store.Operation
	for range rapid.IntRange(1, 4).Draw(r, "batch") {
		op := store.Operation{
			Action: rapid.SampledFrom([]store.JobAction{
				store.ActionRedrive, store.ActionReplay, store.ActionCancel, store.ActionDelete, "unknown",
			}).Draw(r, "action"),
			Delivery: m.drawDelivery(r, store.Dead),
		}
		if op.Action == store.ActionReplay {
			op.To = rapid.SampledFrom(append([]string{"new"}, machineDestinations...)).Draw(r, "destination")
		}
		batch = append(batch, op)
	}
	want, failed := m.model.Operate(m.ctx, batch)
	got, err := m.tested.Operate(m.ctx, batch)
	sameError(r, err, failed)
	same(r, "number of answers", len(got), len(want))
	for i := range want {
		sameError(r, got[i].Err, want[i].Err)
		same(r, "operated", unfenced([]store.Delivery{got[i].Delivery}), unfenced([]store.Delivery{want[i].Delivery}))
	}
}

func (m *machine) cancel(r *rapid.T) {
	id := m.drawDelivery(r, store.Leased)
	want, failed := m.model.Cancel(m.ctx, id)
	got, err := m.tested.Cancel(m.ctx, id)
	sameError(r, err, failed)
	same(r, "canceled", unfenced([]store.Delivery{got}), unfenced([]store.Delivery{want}))
}

func (m *machine) delete(r *rapid.T) {
	id := m.drawMessage(r)
	failed := m.model.Delete(m.ctx, id)
	err := m.tested.Delete(m.ctx, id)
	sameError(r, err, failed)
}

// purge purges until nothing is left to purge. Its times are no multiples of
// the steps of the clock, so that nothing hangs on a moment.
func (m *machine) purge(r *rapid.T) {
	times := rapid.SampledFrom([]time.Duration{0, 333 * time.Microsecond, time.Hour + 333*time.Microsecond, window + 333*time.Microsecond})
	req := store.PurgeRequest{
		Finished:     times.Draw(r, "finished"),
		Dead:         times.Draw(r, "dead"),
		DedupeWindow: window,
	}
	if rapid.IntRange(0, 3).Draw(r, "short of space") == 0 {
		m.purgeExcess(r, req)
		return
	}
	want, failed := m.model.Purge(m.ctx, req)
	sameError(r, failed, nil)
	req.Limit = rapid.IntRange(0, 3).Draw(r, "limit")
	total := 0
	for more := true; more; {
		got, err := m.tested.Purge(m.ctx, req)
		sameError(r, err, nil)
		if req.Limit > 0 && got.Messages > req.Limit || got.More && got.Messages == 0 {
			r.Fatalf("purge with a limit of %d is %+v", req.Limit, got)
		}
		total += got.Messages
		more = got.More
	}
	same(r, "purged", total, want.Messages)
}

// purgeExcess purges once, by size.
func (m *machine) purgeExcess(r *rapid.T, req store.PurgeRequest) {
	req.Excess = int64(rapid.IntRange(1, 200).Draw(r, "excess"))
	want, failed := m.model.Purge(m.ctx, req)
	got, err := m.tested.Purge(m.ctx, req)
	sameError(r, err, failed)
	same(r, "purged for space", got, want)
}
