// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var listTypeChecks = []check{
	{"messages_over_all_sources_in_pages", checkListTypeMessages},
	{"deliveries_over_all_sources_in_pages", checkListTypeDeliveries},
	{"not_what_was_deleted", checkListTypeDeleted},
}

// typed are messages of a few types from sources that take turns for a while.
type typed struct {
	all  []store.Message
	from time.Time
	to   time.Time
}

var (
	typedSources = []string{"", "shop", "shops", "b"}
	typedTypes   = []string{"", "order.paid", "order", strings.Repeat("t", 128), strings.Repeat("t", 129), strings.Repeat("t", 300)}
)

func (x *fixture) typed(n int) *typed {
	x.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	t := new(typed)
	source := ""
	for i := range n {
		if i%10 == 0 {
			source = typedSources[r.IntN(len(typedSources))]
		}
		m := x.ids.message(source)
		m.Type = typedTypes[r.IntN(len(typedTypes))]
		x.accept(store.Acceptance{Message: m, Deliveries: to(0, "a", "b")})
		t.all = append(t.all, *m)
		x.clock.advance(time.Millisecond)
	}
	t.from, t.to = t.all[n/4].ReceivedAt, t.all[n*3/4].ReceivedAt
	return t
}

// each calls f for queries by type, with the ids that they select, oldest first.
func (t *typed) each(f func(q store.MessageQuery, want []store.MessageID)) {
	for _, source := range typedSources {
		for _, typ := range append(typedTypes[1:], "none") {
			for _, bounded := range []bool{false, true} {
				q := store.MessageQuery{Source: source, Type: typ}
				if bounded {
					q.From, q.To = t.from, t.to
				}
				var want []store.MessageID
				for _, m := range t.all {
					if (source == "" || m.Source == source) && m.Type == typ &&
						(!bounded || !m.ReceivedAt.Before(t.from) && m.ReceivedAt.Before(t.to)) {
						want = append(want, m.ID)
					}
				}
				f(q, want)
			}
		}
	}
}

func checkListTypeMessages(x *fixture) {
	x.typed(300).each(func(q store.MessageQuery, want []store.MessageID) {
		slices.Reverse(want)
		for _, limit := range []int{1, 7, 1000} {
			q.Limit = limit
			q.Before = store.MessageID{}
			var got []store.MessageID
			for len(got) <= len(want) {
				page := x.messagePage(q)
				if len(page) == 0 {
					break
				}
				got = append(got, page...)
				q.Before = page[len(page)-1]
			}
			same(x, fmt.Sprintf("messages of %.20q from %q in pages of %d", q.Type, q.Source, limit), got, want)
		}
	})
}

func checkListTypeDeliveries(x *fixture) {
	x.typed(300).each(func(m store.MessageQuery, messages []store.MessageID) {
		var want []store.DeliveryID
		for _, id := range messages {
			want = append(want, store.DeliveryID{Message: id, N: 1}, store.DeliveryID{Message: id, N: 2})
		}
		for _, limit := range []int{1, 7, 1000} {
			q := store.DeliveryQuery{Source: m.Source, Type: m.Type, From: m.From, To: m.To, Limit: limit}
			var got []store.DeliveryID
			for len(got) <= len(want) {
				page := x.deliveryPage(q)
				if len(page) == 0 {
					break
				}
				got = append(got, page...)
				q.After = page[len(page)-1]
			}
			same(x, fmt.Sprintf("deliveries of %.20q from %q in pages of %d", q.Type, q.Source, limit), got, want)
		}
	})
}

func checkListTypeDeleted(x *fixture) {
	t := x.typed(60)
	left := t.all[:0:0]
	for i, m := range t.all {
		if i%2 == 0 {
			left = append(left, m)
		} else if err := x.store.Delete(x.Context(), m.ID); err != nil {
			x.Fatalf("Delete: %v", err)
		}
	}
	t.all = left
	t.each(func(q store.MessageQuery, want []store.MessageID) {
		slices.Reverse(want)
		same(x, "messages", x.messageIDs(q), want)
	})
}
