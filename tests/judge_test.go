// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// finishWindow is how long before a crash an answer of the upstream may have come and still be repeated: outcomes are
// recorded in groups.
const finishWindow = 50 * time.Millisecond

// crash is when a process was killed, or connections cut that an answer may have been on: it was between the two.
type crash struct {
	from, to time.Time

	// slack is added to the finishWindow: how long an accept took around that time. On a machine that is busy with
	// other things an outcome takes as much longer to be recorded.
	slack time.Duration
}

// startAgain notes that no process has run since the last crash until now. What has arrived meanwhile was sent by the one
// that died: on a busy machine the upstream gets to it late.
func startAgain(crashes []crash) {
	if n := len(crashes); n > 0 {
		crashes[n-1].to = time.Now()
	}
}

// contents is what a store holds.
type contents struct {
	messages   map[string][]store.MessageID // by event id
	deliveries map[store.MessageID][]store.Delivery
	books      map[string]store.Books
}

// readStore returns what the store in dir holds. No process may use it.
func readStore(t testing.TB, dir string) contents {
	t.Helper()
	return withStore(t, dir, read)
}

// lookUp returns what the store in dir holds of some events.
func lookUp(t testing.TB, dir string, eventIDs []string) contents {
	t.Helper()
	return withStore(t, dir, func(ctx context.Context, st store.Store) (contents, error) {
		c := contents{messages: make(map[string][]store.MessageID), deliveries: make(map[store.MessageID][]store.Delivery)}
		for _, eventID := range eventIDs {
			list, err := st.ListMessages(ctx, store.MessageQuery{EventID: eventID, Limit: 10})
			if err != nil {
				return c, fmt.Errorf("listing messages: %w", err)
			}
			for i := range list {
				id := list[i].ID
				c.messages[eventID] = append(c.messages[eventID], id)
				if c.deliveries[id], err = st.Deliveries(ctx, id); err != nil {
					return c, fmt.Errorf("reading deliveries: %w", err)
				}
			}
		}
		return c, nil
	})
}

// withStore returns what f reads from the store in dir.
func withStore(t testing.TB, dir string, f func(context.Context, store.Store) (contents, error)) contents {
	t.Helper()
	st, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		t.Fatalf("opening the store for the judge: %v", err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	}()
	c, err := f(t.Context(), st)
	if err != nil {
		t.Fatalf("reading the store for the judge: %v", err)
	}
	return c
}

func read(ctx context.Context, st store.Store) (contents, error) {
	const page = 1000
	c := contents{messages: make(map[string][]store.MessageID), deliveries: make(map[store.MessageID][]store.Delivery)}
	messages := store.MessageQuery{Limit: page}
	for more := true; more; {
		list, err := st.ListMessages(ctx, messages)
		if err != nil {
			return c, fmt.Errorf("listing messages: %w", err)
		}
		for i := range list {
			c.messages[list[i].EventID] = append(c.messages[list[i].EventID], list[i].ID)
			messages.Before = list[i].ID
		}
		more = len(list) == page
	}
	deliveries := store.DeliveryQuery{Limit: page}
	for more := true; more; {
		list, err := st.ListDeliveries(ctx, deliveries)
		if err != nil {
			return c, fmt.Errorf("listing deliveries: %w", err)
		}
		for i := range list {
			id := list[i].ID
			c.deliveries[id.Message] = append(c.deliveries[id.Message], list[i])
			deliveries.After = id
		}
		more = len(list) == page
	}
	books, err := st.Books(ctx)
	if err != nil {
		return c, fmt.Errorf("reading the books: %w", err)
	}
	c.books = books
	return c, nil
}

// owes reports whether the store still means to deliver the event, or lists it as dead.
func (c *contents) owes(eventID string) bool {
	for _, id := range c.messages[eventID] {
		for i := range c.deliveries[id] {
			if state := c.deliveries[id][i].State; state.Open() || state == store.Dead {
				return true
			}
		}
	}
	return false
}

// say tells what the store has of an event.
func (c *contents) say(eventID string) string {
	text := fmt.Sprintf("the store has %d messages of it", len(c.messages[eventID]))
	for _, id := range c.messages[eventID] {
		for i := range c.deliveries[id] {
			d := &c.deliveries[id][i]
			text += fmt.Sprintf(", delivery %s %s after %d attempts", d.ID, d.State, d.Attempts)
		}
	}
	return text
}

// open returns how many deliveries have not ended.
func (c *contents) open() (n int) {
	for _, list := range c.deliveries {
		for i := range list {
			if list[i].State.Open() {
				n++
			}
		}
	}
	return n
}

// judgement is what was found wrong, a line for each.
type judgement struct {
	lost        []string // answered with a 2xx, and neither delivered nor open nor dead
	phantom     []string // there and never sent
	corrupt     []string // delivered with another body
	doubled     []string // accepted twice
	unexplained []string // delivered again without a crash that would excuse it
	order       []string // tried before, or beside, an earlier one of its lane
	books       []string // numbers that do not add up
}

// judge compares what the provider knows, what the upstream got and what the store holds.
func judge(ledger map[string]entry, receipts []receipt, c contents, crashes []crash) judgement {
	var j judgement
	j.receipts(ledger, receipts)
	taken := make(map[string]bool)
	for i := range receipts {
		if receipts[i].done() {
			taken[receipts[i].eventID] = true
		}
	}
	for id, e := range ledger {
		if !e.ackedAt.IsZero() && !taken[id] && !c.owes(id) {
			j.lost = append(j.lost, fmt.Sprintf("%s, answered at %s; %s", id, e.ackedAt.Format(time.StampMicro), c.say(id)))
		}
	}
	for id, messages := range c.messages {
		if _, sent := ledger[id]; !sent {
			j.phantom = append(j.phantom, fmt.Sprintf("%q in the store as %v", id, messages))
		}
		if len(messages) > 1 {
			j.doubled = append(j.doubled, fmt.Sprintf("%s in the store as %v", id, messages))
		}
	}
	j.repetitions(receipts, crashes)
	j.lanes(ledger, receipts, crashes)
	j.balance(c)
	return j
}

// receipts judges each receipt by itself.
func (j *judgement) receipts(ledger map[string]entry, receipts []receipt) {
	messages := make(map[string]string)
	for i := range receipts {
		r := &receipts[i]
		e, sent := ledger[r.eventID]
		switch {
		case !sent:
			j.phantom = append(j.phantom, fmt.Sprintf("%q at the upstream as %q", r.eventID, r.messageID))
			continue
		case r.sum != e.sum || r.named != r.eventID:
			j.corrupt = append(j.corrupt, fmt.Sprintf("%s delivered as %q with another body or event id", r.eventID, r.named))
		}
		if first, ok := messages[r.eventID]; ok && first != r.messageID {
			j.doubled = append(j.doubled, fmt.Sprintf("%s at the upstream as %s and %s", r.eventID, first, r.messageID))
		}
		messages[r.eventID] = r.messageID
	}
}

// repetitions judges deliveries of what the upstream had already answered with a 2xx.
func (j *judgement) repetitions(receipts []receipt, crashes []crash) {
	last := make(map[string]*receipt)
	for i := range receipts {
		r := &receipts[i]
		if before := last[r.eventID]; before != nil && !r.replay && !excused(before, r, crashes) {
			j.unexplained = append(j.unexplained, fmt.Sprintf("%s, attempt %d at %s after attempt %d answered with %d at %s%s",
				r.eventID, r.attempt, r.arrivedAt.Format(time.StampMicro), before.attempt, before.status,
				before.answeredAt.Format(time.StampMicro), nextCrash(before, crashes)))
		}
		if r.done() {
			last[r.eventID] = r
		}
	}
}

// excused reports whether a crash lies between a delivery and its repetition that came before the outcome had to be
// on disk.
func excused(before, again *receipt, crashes []crash) bool {
	return slices.ContainsFunc(crashes, func(c crash) bool {
		return !before.arrivedAt.After(c.to) && !before.answeredAt.Add(finishWindow+c.slack).Before(c.from) && again.arrivedAt.After(c.from)
	})
}

// nextCrash says how long after an answer the next crash came.
func nextCrash(r *receipt, crashes []crash) string {
	var next *crash
	for i := range crashes {
		if c := &crashes[i]; c.to.After(r.answeredAt) && (next == nil || c.from.Before(next.from)) {
			next = c
		}
	}
	if next == nil {
		return ", and no crash after that"
	}
	return fmt.Sprintf(", %s before a crash with a slack of %s", next.from.Sub(r.answeredAt), next.slack)
}

// balance judges the books of a store from which nothing has been purged.
func (j *judgement) balance(c contents) {
	counted := make(map[string]store.Books)
	for _, list := range c.deliveries {
		for i := range list {
			b := counted[list[i].Destination]
			b.Made++
			switch state := list[i].State; {
			case state.Open():
				b.Open++
				b.OpenBytes += uint64(list[i].BodySize)
			case state == store.Delivered:
				b.Delivered++
			case state == store.Dead:
				b.Dead++
			case state == store.Canceled:
				b.Canceled++
			}
			counted[list[i].Destination] = b
		}
	}
	for destination, b := range c.books {
		if !b.Balanced() || b != counted[destination] {
			j.books = append(j.books, fmt.Sprintf("%s: the books say %+v, the deliveries %+v", destination, b, counted[destination]))
		}
		delete(counted, destination)
	}
	for destination, b := range counted {
		j.books = append(j.books, fmt.Sprintf("%s: no books, the deliveries say %+v", destination, b))
	}
}

// report fails the test for all that was found wrong.
func (j *judgement) report(t testing.TB) {
	t.Helper()
	for _, found := range []struct {
		what  string
		lines []string
	}{
		{"lost", j.lost},
		{"phantom", j.phantom},
		{"corrupt", j.corrupt},
		{"accepted twice", j.doubled},
		{"unexplained duplicate", j.unexplained},
		{"out of order", j.order},
		{"books out of balance", j.books},
	} {
		for i, line := range found.lines {
			if i == 5 {
				t.Errorf("%s: %d more", found.what, len(found.lines)-i)
				break
			}
			t.Errorf("%s: %s", found.what, line)
		}
	}
}

// closeBooks ends a campaign whose process has ended: nothing may be open any more, and nothing may be wrong.
func closeBooks(t testing.TB, s *server, p *provider, u *upstream, crashes ...crash) {
	t.Helper()
	c := readStore(t, s.store)
	j := judge(p.books(), u.all(), c, append(crashes, u.cut()...))
	j.report(t)
	if len(j.books) > 0 && s.logged("removing finished messages before their time") {
		t.Error("the disk of this machine ran short, and the server removed what the books are compared with")
	}
	if n := c.open(); n > 0 {
		t.Errorf("%d deliveries are still open", n)
	}
}
