// SPDX-License-Identifier: Apache-2.0

package storetest

import "github.com/caddy-relay/caddy-relay/relay/store"

// deliveryPages lists page by page, until there is no more or there are more than most.
func (x *fixture) deliveryPages(q store.DeliveryQuery, most int) []store.DeliveryID {
	x.Helper()
	var got []store.DeliveryID
	for {
		page := x.deliveryPage(q)
		if len(page) == 0 {
			return got
		}
		if len(page) > q.Limit {
			x.Fatalf("page of %d deliveries with a limit of %d", len(page), q.Limit)
		}
		if got = append(got, page...); len(got) > most {
			return got
		}
		q.After = page[len(page)-1]
	}
}

// checkListDeliveriesAhead has what is listed change between two pages.
func checkListDeliveriesAhead(x *fixture) {
	var ids []store.DeliveryID
	for i := range 8 {
		a := x.acceptance("a", "b")
		if i%2 == 0 {
			a.Deliveries[0].OrderKey = "k"
		}
		ids = append(ids, x.accept(a).Deliveries[0].ID)
	}
	q := store.DeliveryQuery{Destination: "a", Open: true, From: ids[0].Message.Time(), Limit: 2, Ahead: new(store.Ahead)}
	same(x, "first page", x.deliveryPage(q), ids[:2])
	for _, id := range []store.DeliveryID{ids[0], ids[3]} {
		if _, err := x.store.Cancel(x.Context(), id); err != nil {
			x.Fatalf("Cancel: %v", err)
		}
	}
	q.After = ids[0]
	same(x, "page from before the end of the first", x.deliveryPage(q), ids[1:3])
	q.After = ids[2]
	same(x, "page without what was canceled", x.deliveryPage(q), ids[4:6])
	claimed := x.claimOne("a")
	q.After, q.Limit = store.DeliveryID{}, 100
	page, err := x.store.ListDeliveries(x.Context(), q)
	if err != nil {
		x.Fatalf("ListDeliveries: %v", err)
	}
	same(x, "deliveries that are left", len(page), 6)
	for _, d := range page {
		same(x, "leased", d.State == store.Leased, d.ID == claimed.ID)
	}
	q.After = ids[7]
	same(x, "page behind the last", len(x.deliveryPage(q)), 0)
}
