// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// remembered is how many events are kept to be repeated, of those that were refused and of those that were not.
const remembered = 20_000

// mixture makes up the requests of a flood: of twenty one is GitHub's, which never sends again by itself, and of the
// others, which are Stripe's, half repeat one that was sent before, be it that it was refused or only that its sender
// has not seen the answer.
type mixture struct {
	p   *provider
	pad []byte // what bodies are filled with

	mu       sync.Mutex
	refused  []event
	accepted []event
}

func newMixture(p *provider) *mixture {
	m := &mixture{p: p}
	for len(m.pad) < 1<<20 {
		m.pad = strconv.AppendUint(m.pad, rand.Uint64(), 36)
	}
	return m
}

// settle notes whether the request that a writer has rendered was accepted, and reports whether that was the first time.
func (m *mixture) settle(w *floodWriter, accepted bool) (first bool) {
	if accepted && !w.known {
		m.p.acknowledge(w.event)
	}
	if w.kind == "stripe" && !w.known {
		m.mu.Lock()
		defer m.mu.Unlock()
		list := &m.refused
		if accepted {
			list = &m.accepted
		}
		if len(*list) < remembered {
			*list = append(*list, w.event)
		}
	}
	return accepted && !w.known
}

// repeat returns an event that was sent before, and whether it was accepted. It has no id where there is none.
func (m *mixture) repeat() (ev event, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lists := []*[]event{&m.refused, &m.accepted}
	if rand.IntN(2) == 0 {
		slices.Reverse(lists)
	}
	for _, list := range lists {
		if last := len(*list) - 1; last >= 0 {
			ev, *list = (*list)[last], (*list)[:last]
			return ev, list == &m.accepted
		}
	}
	return event{}, false
}

// writer returns what renders requests for one connection.
func (m *mixture) writer() *floodWriter {
	return &floodWriter{mixture: m, mac: hmac.New(sha256.New, []byte(secretA))}
}

// floodWriter renders one request after the other into the same memory.
type floodWriter struct {
	mixture *mixture
	mac     hash.Hash
	sum     [sha256.Size]byte

	// What was rendered last.
	kind    string
	event   event
	known   bool // it has been accepted before
	request []byte
}

// render makes up the n-th request.
func (w *floodWriter) render(n int) {
	w.kind, w.event, w.known = "stripe", event{}, false
	switch {
	case n%20 == 0:
		w.kind = "github"
	case n%2 == 0:
		w.event, w.known = w.mixture.repeat()
	}
	if w.event.id == "" {
		w.event = w.fresh()
	}
	b := append(w.request[:0], "POST /"...)
	b = append(b, w.kind...)
	b = append(b, " HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/json\r\n"...)
	w.mac.Reset()
	if w.kind == "github" {
		b = append(append(b, "X-GitHub-Event: push\r\nX-GitHub-Hook-ID: 1\r\nX-GitHub-Delivery: "...), w.event.id...)
		b = append(b, "\r\nX-Hub-Signature-256: sha256="...)
	} else {
		b = append(b, "Stripe-Signature: t="...)
		from := len(b)
		b = strconv.AppendInt(b, time.Now().Unix(), 10)
		_, _ = w.mac.Write(b[from:])
		_, _ = w.mac.Write([]byte("."))
		b = append(b, ",v1="...)
	}
	_, _ = w.mac.Write(w.event.body)
	b = hex.AppendEncode(b, w.mac.Sum(w.sum[:0]))
	b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(w.event.body)), 10)
	w.request = append(append(b, "\r\n\r\n"...), w.event.body...)
}

// fresh makes up an event and enters it into the ledger.
func (w *floodWriter) fresh() event {
	p := w.mixture.p
	id := "evt_" + p.tag + "_" + strconv.FormatInt(p.seq.Add(1), 10)
	body := make([]byte, 0, bodySize)
	body = append(append(append(body, `{ "id":"`...), id...), "\",\r\n\"type\" : \"invoice.paid\", \"note\":\"\\u00e9\", \"pad\":\""...)
	const tail = "\" }\n"
	fill := bodySize - len(tail) - len(body)
	from := rand.IntN(len(w.mixture.pad) - fill)
	body = append(append(body, w.mixture.pad[from:from+fill]...), tail...)
	ev := event{id: id, body: body, sum: sha256.Sum256(body)}
	p.intend(ev)
	return ev
}

// BenchmarkFloodWriter is what a flood costs its sender beside the system calls.
func BenchmarkFloodWriter(b *testing.B) {
	m := newMixture(newProvider(b, ""))
	w := m.writer()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		w.render(n)
		m.settle(w, true)
	}
}
