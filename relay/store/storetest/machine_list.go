// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// list compares a random page of messages and one of deliveries.
func (m *machine) list(r *rapid.T) {
	messages := store.MessageQuery{
		Source:  rapid.SampledFrom([]string{"", "shop", "shop2"}).Draw(r, "source"),
		Type:    rapid.SampledFrom([]string{"", "t", "t2"}).Draw(r, "type"),
		EventID: rapid.SampledFrom([]string{"", "evt1", "evt2"}).Draw(r, "event id"),
		Tenant:  rapid.SampledFrom([]string{"", "acme"}).Draw(r, "tenant"),
		Limit:   rapid.IntRange(1, 5).Draw(r, "limit"),
	}
	messages.From, messages.To = m.drawPeriod(r)
	if rapid.Bool().Draw(r, "next page") {
		messages.Before = m.drawMessage(r)
	}
	m.compareMessages(r, messages)

	deliveries := store.DeliveryQuery{
		Destination: rapid.SampledFrom(append([]string{""}, machineDestinations...)).Draw(r, "destination"),
		State:       store.State(rapid.IntRange(0, int(store.Canceled)).Draw(r, "state")),
		Open:        rapid.IntRange(0, 3).Draw(r, "open") == 0,
		Source:      rapid.SampledFrom([]string{"", "", "shop", "shop2"}).Draw(r, "source of deliveries"),
		Type:        rapid.SampledFrom([]string{"", "", "t", "t2"}).Draw(r, "type of deliveries"),
		EventID:     rapid.SampledFrom([]string{"", "", "evt1"}).Draw(r, "event id of deliveries"),
		Limit:       rapid.IntRange(1, 5).Draw(r, "limit"),
	}
	deliveries.From, deliveries.To = m.drawPeriod(r)
	if rapid.Bool().Draw(r, "next page") {
		deliveries.After = m.drawDelivery(r, store.Pending)
	}
	m.compareDeliveries(r, deliveries)
}

// drawPeriod returns a period that begins and ends at messages, or nowhere.
func (m *machine) drawPeriod(r *rapid.T) (from, to time.Time) {
	if rapid.Bool().Draw(r, "from") {
		from = m.drawMessage(r).Time()
	}
	if rapid.Bool().Draw(r, "to") {
		to = m.drawMessage(r).Time()
	}
	return from, to
}

// drawEntity returns what makes an entity of any kind under one of few ids, the
// same one each time.
func (m *machine) drawEntity(r *rapid.T) func() store.Entity {
	tenant := rapid.SampledFrom([]string{"", "acme"}).Draw(r, "tenant")
	id := rapid.SampledFrom([]string{"one", "two"}).Draw(r, "id")
	full := rapid.Bool().Draw(r, "full")
	kind := rapid.IntRange(0, 6).Draw(r, "kind")
	return func() store.Entity { return entities(tenant, id, full)[kind] }
}

// putEntity puts an entity at its revision, or at a wrong one.
func (m *machine) putEntity(r *rapid.T) {
	draw := m.drawEntity(r)
	ours, theirs := draw(), draw()
	key := ours.Key()
	known, failed := m.model.Entity(m.ctx, key)
	stored, err := m.tested.Entity(m.ctx, key)
	sameError(r, err, failed)
	if rapid.Bool().Draw(r, "at its revision") && err == nil {
		ours.Meta().Revision = known.Meta().Revision
		theirs.Meta().Revision = stored.Meta().Revision
	} else if rapid.Bool().Draw(r, "at a wrong revision") {
		ours.Meta().Revision = 1 << 40
		theirs.Meta().Revision = 1 << 40
	}
	failed = m.model.PutEntity(m.ctx, ours)
	err = m.tested.PutEntity(m.ctx, theirs)
	sameError(r, err, failed)
	if err == nil {
		theirs.Meta().Revision = ours.Meta().Revision
		sameEntity(r, theirs, ours)
	}
}

func (m *machine) deleteEntity(r *rapid.T) {
	key := m.drawEntity(r)().Key()
	failed := m.model.DeleteEntity(m.ctx, key)
	err := m.tested.DeleteEntity(m.ctx, key)
	sameError(r, err, failed)
}

func (m *machine) listEntities(r *rapid.T) {
	key := m.drawEntity(r)().Key()
	q := store.EntityQuery{
		Kind: key.Kind, Tenant: key.Tenant,
		After: rapid.SampledFrom([]string{"", "one", "two"}).Draw(r, "after"),
		Limit: rapid.IntRange(1, 3).Draw(r, "limit"),
	}
	want, failed := m.model.ListEntities(m.ctx, q)
	got, err := m.tested.ListEntities(m.ctx, q)
	sameError(r, err, failed)
	same(r, "number of entities", len(got), len(want))
	for i, e := range got {
		e.Meta().Revision = want[i].Meta().Revision
		sameEntity(r, e, want[i])
	}
}
