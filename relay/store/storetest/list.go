// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"slices"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var listChecks = []check{
	{"messages_newest_first_without_bodies", checkListMessages},
	{"messages_by_every_filter", checkListMessagesFilter},
	{"messages_of_names_that_resemble", checkListMessagesNames},
	{"messages_by_time_of_receipt", checkListMessagesTime},
	{"messages_in_pages", checkListMessagesPages},
	{"deliveries_oldest_first", checkListDeliveries},
	{"deliveries_by_every_filter", checkListDeliveriesFilter},
	{"deliveries_by_what_their_message_is", checkListDeliveriesMessage},
	{"deliveries_by_time_of_message", checkListDeliveriesTime},
	{"open_deliveries_that_share_an_order_key", checkListDeliveriesLane},
	{"deliveries_in_pages", checkListDeliveriesPages},
	{"deliveries_that_change_between_pages_that_look_ahead", checkListDeliveriesAhead},
	{"refuses_a_limit_below_one", checkListInvalid},
}

func (x *fixture) messageIDs(q store.MessageQuery) []store.MessageID {
	x.Helper()
	q.Limit = max(q.Limit, 1) * 1000
	return x.messagePage(q)
}

func (x *fixture) messagePage(q store.MessageQuery) []store.MessageID {
	x.Helper()
	messages, err := x.store.ListMessages(x.Context(), q)
	if err != nil {
		x.Fatalf("ListMessages %+v: %v", q, err)
	}
	var ids []store.MessageID
	for _, m := range messages {
		ids = append(ids, m.ID)
	}
	return ids
}

func (x *fixture) deliveryIDs(q store.DeliveryQuery) []store.DeliveryID {
	x.Helper()
	q.Limit = max(q.Limit, 1) * 1000
	return x.deliveryPage(q)
}

func (x *fixture) deliveryPage(q store.DeliveryQuery) []store.DeliveryID {
	x.Helper()
	deliveries, err := x.store.ListDeliveries(x.Context(), q)
	if err != nil {
		x.Fatalf("ListDeliveries %+v: %v", q, err)
	}
	var ids []store.DeliveryID
	for _, d := range deliveries {
		ids = append(ids, d.ID)
	}
	return ids
}

// acceptMessage accepts a message that set has changed, with no deliveries.
func (x *fixture) acceptMessage(set func(m *store.Message)) store.MessageID {
	x.Helper()
	m := x.ids.message("shop")
	set(m)
	x.accept(store.Acceptance{Message: m})
	return m.ID
}

func checkListMessages(x *fixture) {
	same(x, "number of messages in an empty store", len(x.messageIDs(store.MessageQuery{})), 0)
	var want []store.Message
	for range 5 {
		m := x.ids.message("shop")
		x.accept(store.Acceptance{Message: m, Deliveries: to(0, "a")})
		listed := *m
		listed.Request.Body = nil
		want = append(want, listed)
		x.clock.advance(time.Millisecond)
	}
	slices.Reverse(want)
	for _, q := range []store.MessageQuery{{Limit: 10}, {Source: "shop", Limit: 10}, {Type: "order.paid", Limit: 10}} {
		got, err := x.store.ListMessages(x.Context(), q)
		if err != nil {
			x.Fatalf("ListMessages: %v", err)
		}
		for _, m := range got {
			same(x, "length of the body", len(m.Request.Body), 0)
		}
		same(x, "messages", plainMessages(got), plainMessages(want))
	}
}

func checkListMessagesFilter(x *fixture) {
	type fields struct{ source, typ, event, tenant string }
	rows := []fields{
		{"s1", "t1", "e1", "c1"},
		{"s1", "t2", "e2", "c2"},
		{"s2", "t1", "e2", "c1"},
		{"s2", "t2", "e1", ""},
		{"s1", "", "", "c1"},
		{"s1", "t1", "e1", "c1"},
	}
	ids := make([]store.MessageID, 0, len(rows))
	for _, r := range rows {
		ids = append(ids, x.acceptMessage(func(m *store.Message) {
			m.Source, m.Type, m.EventID, m.Tenant = r.source, r.typ, r.event, r.tenant
		}))
	}
	matches := func(want, got string) bool { return want == "" || want == got }
	for _, source := range []string{"", "s1", "s3"} {
		for _, typ := range []string{"", "t1", "t3"} {
			for _, event := range []string{"", "e1", "e3"} {
				for _, tenant := range []string{"", "c1", "c3"} {
					var want []store.MessageID
					for i, r := range slices.Backward(rows) {
						if matches(source, r.source) && matches(typ, r.typ) && matches(event, r.event) && matches(tenant, r.tenant) {
							want = append(want, ids[i])
						}
					}
					q := store.MessageQuery{Source: source, Type: typ, EventID: event, Tenant: tenant}
					same(x, "messages", x.messageIDs(q), want)
				}
			}
		}
	}
}

func checkListMessagesNames(x *fixture) {
	ids := make(map[string]store.MessageID)
	for _, name := range foreignNames {
		ids[name] = x.acceptMessage(func(m *store.Message) {
			m.Source, m.Type, m.EventID, m.Tenant = name, name, name, name
		})
	}
	for _, name := range foreignNames {
		for _, q := range []store.MessageQuery{{Source: name}, {Type: name}, {EventID: name}, {Tenant: name}} {
			same(x, "messages", x.messageIDs(q), []store.MessageID{ids[name]})
		}
	}
}

func checkListMessagesTime(x *fixture) {
	start := x.clock.Now()
	var ids []store.MessageID
	for range 6 {
		ids = append(ids, x.acceptMessage(func(*store.Message) {}))
		x.clock.advance(250 * time.Microsecond)
	}
	at := func(i int) time.Time { return start.Add(time.Duration(i) * 250 * time.Microsecond) }
	same(x, "from", x.messageIDs(store.MessageQuery{From: at(4)}), []store.MessageID{ids[5], ids[4]})
	same(x, "from between", x.messageIDs(store.MessageQuery{From: at(4).Add(1 * time.Microsecond)}), []store.MessageID{ids[5]})
	same(x, "to", x.messageIDs(store.MessageQuery{To: at(2)}), []store.MessageID{ids[1], ids[0]})
	same(x, "both", x.messageIDs(store.MessageQuery{From: at(1), To: at(3)}), []store.MessageID{ids[2], ids[1]})
	same(x, "both with a source", x.messageIDs(store.MessageQuery{Source: "shop", From: at(1), To: at(2)}), []store.MessageID{ids[1]})
	same(x, "none", len(x.messageIDs(store.MessageQuery{From: at(3), To: at(3)})), 0)
}

func checkListMessagesPages(x *fixture) {
	var all, odd []store.MessageID
	for i := range 23 {
		id := x.acceptMessage(func(m *store.Message) {
			if i%2 == 1 {
				m.Source = "odd"
			}
		})
		all = append(all, id)
		if i%2 == 1 {
			odd = append(odd, id)
		}
		x.clock.advance(time.Duration(i%2) * time.Millisecond)
	}
	for _, c := range []struct {
		q    store.MessageQuery
		want []store.MessageID
	}{{store.MessageQuery{Limit: 5}, all}, {store.MessageQuery{Source: "odd", Limit: 4}, odd}} {
		slices.Reverse(c.want)
		var got []store.MessageID
		for {
			page := x.messagePage(c.q)
			if len(page) == 0 {
				break
			}
			if len(page) > c.q.Limit {
				x.Fatalf("page of %d messages with a limit of %d", len(page), c.q.Limit)
			}
			if got = append(got, page...); len(got) > len(c.want) {
				break
			}
			c.q.Before = page[len(page)-1]
		}
		same(x, "messages", got, c.want)
	}
}

func checkListDeliveries(x *fixture) {
	same(x, "number of deliveries in an empty store", len(x.deliveryIDs(store.DeliveryQuery{})), 0)
	var want []store.Delivery
	for range 4 {
		want = append(want, x.accept(x.acceptance("b", "a", "b")).Deliveries...)
		x.clock.advance(time.Millisecond)
	}
	got, err := x.store.ListDeliveries(x.Context(), store.DeliveryQuery{Limit: 100})
	if err != nil {
		x.Fatalf("ListDeliveries: %v", err)
	}
	same(x, "deliveries", plainDeliveries(got), plainDeliveries(want))
}

func checkListDeliveriesFilter(x *fixture) {
	destinations := []string{"a", "b"}
	final := []store.State{store.Delivered, store.Dead, store.Canceled}
	for range 2 {
		for _, destination := range destinations {
			for _, state := range final {
				x.ended(destination, state)
			}
			x.accept(x.acceptance(destination))
			claimed := x.claimOne(destination)
			x.finish(store.Finish{Lease: claimed.Lease(), State: store.Waiting, Delay: time.Hour})
			x.accept(x.acceptance(destination))
			x.claim(destination, 1)
			x.leased(destination)
		}
	}
	for _, destination := range destinations {
		x.accept(x.acceptance(destination))
	}
	everything, err := x.store.ListDeliveries(x.Context(), store.DeliveryQuery{Limit: 100})
	if err != nil {
		x.Fatalf("ListDeliveries: %v", err)
	}
	same(x, "number of deliveries", len(everything), 26)
	for _, destination := range []string{"", "a", "b", "c"} {
		for state := range store.Canceled + 1 {
			var want []store.DeliveryID
			for _, d := range everything {
				if (destination == "" || d.Destination == destination) && (state == 0 || d.State == state) {
					want = append(want, d.ID)
				}
			}
			same(x, "deliveries", x.deliveryIDs(store.DeliveryQuery{Destination: destination, State: state}), want)
		}
		var open []store.DeliveryID
		for _, d := range everything {
			if (destination == "" || d.Destination == destination) && d.State.Open() {
				open = append(open, d.ID)
			}
		}
		same(x, "open deliveries", x.deliveryIDs(store.DeliveryQuery{Destination: destination, Open: true}), open)
		same(x, "open deliveries that are dead", len(x.deliveryIDs(store.DeliveryQuery{Destination: destination, Open: true, State: store.Dead})), 0)
	}
	same(x, "number of leased", len(x.deliveryIDs(store.DeliveryQuery{State: store.Leased})), 8)
}

func checkListDeliveriesMessage(x *fixture) {
	names := append([]string{""}, foreignNames[:4]...)
	type row struct {
		source, typ, event string
		delivery           store.Delivery
	}
	var rows []row
	for i, source := range names {
		for j, typ := range names {
			a := x.acceptance()
			a.Message.Source, a.Message.Type, a.Message.EventID = source, typ, names[(i+j)%len(names)]
			a.Deliveries = to(lease, "a", "b")
			for _, d := range x.accept(a).Deliveries {
				if d.Destination == "b" && i%2 == 0 {
					d = x.finish(store.Finish{Lease: d.Lease(), State: store.Dead}).Delivery
				}
				rows = append(rows, row{source, typ, a.Message.EventID, d})
			}
		}
	}
	matches := func(want, got string) bool { return want == "" || want == got }
	for _, source := range names {
		for _, typ := range names {
			for _, event := range names[:2] {
				for _, state := range []store.State{0, store.Dead, store.Leased} {
					var want []store.DeliveryID
					for _, r := range rows {
						if matches(source, r.source) && matches(typ, r.typ) && matches(event, r.event) && (state == 0 || state == r.delivery.State) {
							want = append(want, r.delivery.ID)
						}
					}
					q := store.DeliveryQuery{Source: source, Type: typ, EventID: event, State: state}
					same(x, "deliveries", x.deliveryIDs(q), want)
				}
			}
		}
	}
}

func checkListDeliveriesTime(x *fixture) {
	var ids []store.DeliveryID
	for range 4 {
		ids = append(ids, x.pending("a").ID)
		x.clock.advance(time.Millisecond)
	}
	at := func(i int) time.Time { return ids[i].Message.Time() }
	same(x, "from", x.deliveryIDs(store.DeliveryQuery{From: at(2)}), ids[2:])
	same(x, "from between", x.deliveryIDs(store.DeliveryQuery{From: at(2).Add(time.Microsecond)}), ids[3:])
	same(x, "to", x.deliveryIDs(store.DeliveryQuery{To: at(2)}), ids[:2])
	same(x, "to between", x.deliveryIDs(store.DeliveryQuery{To: at(2).Add(time.Microsecond)}), ids[:3])
	same(x, "both", x.deliveryIDs(store.DeliveryQuery{Destination: "a", State: store.Pending, From: at(1), To: at(2)}), ids[1:2])
}

func checkListDeliveriesPages(x *fixture) {
	var all, dead []store.DeliveryID
	for range 4 {
		a := x.acceptance()
		a.Deliveries = to(lease, "a", "b", "a")
		answer := x.accept(a)
		for _, d := range answer.Deliveries {
			all = append(all, d.ID)
		}
		x.finish(store.Finish{Lease: answer.Deliveries[1].Lease(), State: store.Dead})
		dead = append(dead, answer.Deliveries[1].ID)
	}
	for _, c := range []struct {
		q    store.DeliveryQuery
		want []store.DeliveryID
	}{
		{store.DeliveryQuery{Limit: 5}, all},
		{store.DeliveryQuery{Destination: "b", Limit: 3}, dead},
		{store.DeliveryQuery{State: store.Dead, Limit: 1}, dead},
		{store.DeliveryQuery{Source: "shop", Limit: 5}, all},
		{store.DeliveryQuery{Source: "shop", Destination: "b", Limit: 3}, dead},
		{store.DeliveryQuery{Open: true, Destination: "a", Limit: 3}, slices.DeleteFunc(slices.Clone(all), func(id store.DeliveryID) bool {
			return slices.Contains(dead, id)
		})},
	} {
		for _, ahead := range []*store.Ahead{nil, new(store.Ahead)} {
			c.q.Ahead = ahead
			same(x, "deliveries", x.deliveryPages(c.q, len(c.want)), c.want)
		}
	}
}

func checkListDeliveriesLane(x *fixture) {
	var ids []store.DeliveryID
	for i := range 6 {
		a := x.acceptance()
		a.Deliveries = []store.NewDelivery{{Destination: "a", OrderKey: "k"}, {Destination: "b", OrderKey: "k"}}
		ids = append(ids, x.accept(a).Deliveries[0].ID)
		if i == 2 {
			x.claimOne("a")
		}
	}
	same(x, "open deliveries", x.deliveryIDs(store.DeliveryQuery{Destination: "a", Open: true}), ids)
	same(x, "pending deliveries", x.deliveryIDs(store.DeliveryQuery{Destination: "a", State: store.Pending}), ids[1:])
}

func checkListInvalid(x *fixture) {
	x.accept(x.acceptance("a"))
	_, err := x.store.ListMessages(x.Context(), store.MessageQuery{})
	wants(x, "listing no messages", err, store.ErrInvalid)
	_, err = x.store.ListDeliveries(x.Context(), store.DeliveryQuery{})
	wants(x, "listing no deliveries", err, store.ErrInvalid)
	_, err = x.store.ListEntities(x.Context(), store.EntityQuery{Kind: store.KindTenant})
	wants(x, "listing no entities", err, store.ErrInvalid)
}
