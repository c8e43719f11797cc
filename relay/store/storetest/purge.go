// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"crypto/sha256"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

var purgeChecks = []check{
	{"removes_finished_messages_after_their_time", checkPurgeFinished},
	{"removes_dead_messages_after_theirs", checkPurgeDead},
	{"never_removes_an_open_delivery", checkPurgeOpen},
	{"keeps_for_ever_what_has_no_time", checkPurgeForEver},
	{"counts_from_the_last_end", checkPurgeLastEnd},
	{"removes_messages_without_deliveries", checkPurgeBare},
	{"stops_at_the_limit", checkPurgeLimit},
	{"removes_the_oldest_first", checkPurgeOldest},
	{"removes_more_where_space_is_short", checkPurgeExcess},
	{"removes_nothing_open_or_dead_for_space", checkPurgeExcessStays},
	{"removes_all_that_hangs_on_a_message", checkPurgeWhole},
}

func (x *fixture) purge(req store.PurgeRequest) store.Purged {
	x.Helper()
	req.DedupeWindow = window
	p, err := x.store.Purge(x.Context(), req)
	if err != nil {
		x.Fatalf("Purge: %v", err)
	}
	return p
}

func checkPurgeFinished(x *fixture) {
	delivered, canceled := x.ended("a", store.Delivered), x.ended("a", store.Canceled)
	x.ended("a", store.Dead)
	x.clock.advance(time.Hour - time.Millisecond)
	same(x, "purged early", x.purge(store.PurgeRequest{Finished: time.Hour}).Messages, 0)
	x.clock.advance(2 * time.Millisecond)
	same(x, "purged", x.purge(store.PurgeRequest{Finished: time.Hour}).Messages, 2)
	for _, d := range []store.Delivery{delivered, canceled} {
		_, err := x.store.Message(x.Context(), d.ID.Message)
		wants(x, "reading a purged message", err, store.ErrNotFound)
	}
	same(x, "purged again", x.purge(store.PurgeRequest{Finished: time.Hour}).Messages, 0)
	same(x, "books", x.books("a"), store.Books{Made: 3, Delivered: 1, Canceled: 1, Dead: 1})
}

func checkPurgeDead(x *fixture) {
	d := x.ended("a", store.Dead)
	mixed := x.original("k", []string{"a", "b"}, store.Delivered, store.Dead)
	x.clock.advance(2 * time.Hour)
	same(x, "purged", x.purge(store.PurgeRequest{Finished: time.Hour, Dead: 3 * time.Hour}).Messages, 0)
	same(x, "state", x.delivery(d.ID).State, store.Dead)
	x.clock.advance(2 * time.Hour)
	same(x, "purged", x.purge(store.PurgeRequest{Finished: 9 * time.Hour, Dead: 3 * time.Hour}).Messages, 2)
	_, err := x.store.Redrive(x.Context(), store.DeliveryID{Message: mixed.Message, N: 2})
	wants(x, "re-driving a purged delivery", err, store.ErrNotFound)
	same(x, "books of a", x.books("a"), store.Books{Made: 2, Delivered: 1, Dead: 1})
	same(x, "books of b", x.books("b"), store.Books{Made: 1, Dead: 1})
}

func checkPurgeOpen(x *fixture) {
	pending := x.accept(x.acceptance("a")).Message
	half := x.original("k", []string{"a", "b", "c"}, store.Delivered, store.Dead, 0)
	waiting := x.leased("a")
	x.finish(store.Finish{Lease: waiting.Lease(), State: store.Waiting, Delay: time.Minute})
	redriven := x.ended("a", store.Dead)
	x.redrive(redriven.ID)
	replayed := x.ended("a", store.Delivered)
	x.replay(replayed.ID.Message, "a")
	x.clock.advance(1000 * time.Hour)
	same(x, "purged", x.purge(store.PurgeRequest{Finished: time.Hour, Dead: time.Hour}).Messages, 0)
	for _, id := range []store.MessageID{pending, half.Message, waiting.ID.Message, redriven.ID.Message, replayed.ID.Message} {
		x.read(id)
	}
	same(x, "claimed", len(x.claim("a", 10).Deliveries), 4)
}

func checkPurgeForEver(x *fixture) {
	x.ended("a", store.Delivered)
	x.ended("a", store.Dead)
	x.clock.advance(10_000 * time.Hour)
	same(x, "purged", x.purge(store.PurgeRequest{}).Messages, 0)
	same(x, "purged", x.purge(store.PurgeRequest{Dead: time.Hour}).Messages, 1)
	same(x, "purged", x.purge(store.PurgeRequest{Finished: time.Hour}).Messages, 1)
}

func checkPurgeLastEnd(x *fixture) {
	o := x.original("k", []string{"a", "b"}, 0, 0)
	x.clock.advance(10 * time.Hour)
	x.finish(store.Finish{Lease: o.Deliveries[1].Lease(), State: store.Delivered})
	x.clock.advance(10 * time.Hour)
	x.finish(store.Finish{Lease: o.Deliveries[0].Lease(), State: store.Delivered})
	x.clock.advance(90 * time.Minute)
	same(x, "purged early", x.purge(store.PurgeRequest{Finished: 2 * time.Hour}).Messages, 0)
	x.replay(o.Message, "a")
	x.clock.advance(time.Hour)
	d := x.claimOne("a")
	x.finish(store.Finish{Lease: d.Lease(), State: store.Delivered})
	x.clock.advance(119 * time.Minute)
	same(x, "purged early after a replay", x.purge(store.PurgeRequest{Finished: 2 * time.Hour}).Messages, 0)
	x.clock.advance(2 * time.Minute)
	same(x, "purged", x.purge(store.PurgeRequest{Finished: 2 * time.Hour}).Messages, 1)
}

func checkPurgeBare(x *fixture) {
	x.accept(x.acceptance())
	x.clock.advance(59 * time.Minute)
	same(x, "purged early", x.purge(store.PurgeRequest{Finished: time.Hour}).Messages, 0)
	x.clock.advance(2 * time.Minute)
	same(x, "purged", x.purge(store.PurgeRequest{Finished: time.Hour}).Messages, 1)
}

func checkPurgeLimit(x *fixture) {
	for range 10 {
		x.ended("a", store.Delivered)
	}
	kept := x.accept(x.acceptance("a")).Message
	x.clock.advance(2 * time.Hour)
	total := 0
	for {
		p := x.purge(store.PurgeRequest{Finished: time.Hour, Limit: 4})
		if p.Messages > 4 {
			x.Fatalf("purged %d messages with a limit of 4", p.Messages)
		}
		total += p.Messages
		if !p.More {
			break
		}
		if p.Messages == 0 {
			x.Fatalf("purge says that there is more and removes nothing")
		}
	}
	same(x, "purged", total, 10)
	same(x, "messages", x.messageIDs(store.MessageQuery{}), []store.MessageID{kept})
	same(x, "books", x.books("a"), store.Books{Made: 11, Delivered: 10, Open: 1})
}

func checkPurgeOldest(x *fixture) {
	var ids []store.MessageID
	for range 6 {
		ids = append(ids, x.ended("a", store.Delivered).ID.Message)
	}
	x.clock.advance(2 * time.Hour)
	same(x, "purged", x.purge(store.PurgeRequest{Finished: time.Hour, Limit: 4}).Messages, 4)
	same(x, "messages", x.messageIDs(store.MessageQuery{}), []store.MessageID{ids[5], ids[4]})
}

// sized accepts a message with a body of that many bytes and ends its delivery.
func (x *fixture) sized(size int, state store.State) store.MessageID {
	x.Helper()
	a := x.acceptance()
	a.Message.Request.Body = bytes.Repeat([]byte("x"), size)
	a.Message.BodySum = sha256.Sum256(a.Message.Request.Body)
	a.Deliveries = to(lease, "a")
	d := x.only(x.accept(a).Deliveries)
	x.finish(store.Finish{Lease: d.Lease(), State: state})
	return a.Message.ID
}

func checkPurgeExcess(x *fixture) {
	var ids []store.MessageID
	for range 6 {
		ids = append(ids, x.sized(1000, store.Delivered))
	}
	p := x.purge(store.PurgeRequest{Excess: 2001})
	same(x, "purged", p, store.Purged{Messages: 3, Bytes: 3000})
	same(x, "messages", x.messageIDs(store.MessageQuery{}), []store.MessageID{ids[5], ids[4], ids[3]})
	p = x.purge(store.PurgeRequest{Finished: time.Hour, Excess: 3000, Limit: 2})
	same(x, "purged", p, store.Purged{Messages: 2, Bytes: 2000, More: true})
	bare := x.acceptance()
	x.accept(bare)
	size := int64(len(bare.Message.Request.Body))
	same(x, "purged", x.purge(store.PurgeRequest{Excess: 1 << 40}), store.Purged{Messages: 2, Bytes: 1000 + size})
	same(x, "messages", len(x.messageIDs(store.MessageQuery{})), 0)
	same(x, "books", x.books("a"), store.Books{Made: 6, Delivered: 6})
}

func checkPurgeExcessStays(x *fixture) {
	open := x.accept(x.acceptance("a")).Message
	dead := x.sized(1000, store.Dead)
	x.sized(1000, store.Canceled)
	same(x, "purged", x.purge(store.PurgeRequest{Excess: 1 << 40}), store.Purged{Messages: 1, Bytes: 1000})
	same(x, "messages", x.messageIDs(store.MessageQuery{}), []store.MessageID{dead, open})
	x.clock.advance(2 * time.Hour)
	same(x, "purged", x.purge(store.PurgeRequest{Dead: time.Hour, Excess: 1}), store.Purged{Messages: 1, Bytes: 1000})
	same(x, "messages", x.messageIDs(store.MessageQuery{}), []store.MessageID{open})
}

func checkPurgeWhole(x *fixture) {
	d := x.leased("a")
	x.finish(store.Finish{Lease: d.Lease(), State: store.Delivered, Attempt: attempt(store.Succeeded, 200, "")})
	x.clock.advance(2 * time.Hour)
	same(x, "purged", x.purge(store.PurgeRequest{Finished: time.Hour}).Messages, 1)
	_, err := x.store.Attempts(x.Context(), d.ID)
	wants(x, "reading the attempts of a purged message", err, store.ErrNotFound)
	_, err = x.store.Deliveries(x.Context(), d.ID.Message)
	wants(x, "reading the deliveries of a purged message", err, store.ErrNotFound)
	_, err = x.store.Replay(x.Context(), d.ID.Message, "a")
	wants(x, "replaying a purged message", err, store.ErrNotFound)
	for _, q := range []store.MessageQuery{{}, {Source: "shop"}, {Type: "order.paid"}} {
		same(x, "messages", len(x.messageIDs(q)), 0)
	}
	for _, q := range []store.DeliveryQuery{{}, {Destination: "a"}, {State: store.Delivered}} {
		same(x, "deliveries", len(x.deliveryIDs(q)), 0)
	}
	late := x.finishAll(store.Finish{Lease: d.Lease(), State: store.Dead, Attempt: attempt(store.Refused, 500, "")})[0]
	wants(x, "finishing a purged delivery", late.Err, store.ErrNotFound)
}
