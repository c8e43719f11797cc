// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/memory"
)

// scene is a small campaign in which everything went well; the cases below break one thing each.
type scene struct {
	ledger   map[string]entry
	receipts []receipt
	contents contents
	crashes  []crash
	start    time.Time
}

func newScene(t *testing.T) *scene {
	t.Helper()
	st := memory.New(memory.Options{})
	start := time.Now()
	s := &scene{ledger: make(map[string]entry), start: start}
	for i, id := range []string{"evt_delivered", "evt_open"} {
		ev := newEvent(id)
		s.ledger[id] = entry{sum: ev.sum, begun: start, ackedAt: start.Add(time.Millisecond)}
		message := &store.Message{ID: store.MessageID{15: byte(i + 1)}, Source: "stripe", EventID: id, BodySum: ev.sum}
		message.Request.Body = ev.body
		if _, err := st.Accept(t.Context(), []store.Acceptance{{
			Message: message, Deliveries: []store.NewDelivery{{Destination: "stripe:default", Lease: time.Hour}},
		}}); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			continue
		}
		s.receipts = append(s.receipts, receipt{
			messageID: message.ID.String(), eventID: id, named: id, sum: ev.sum, attempt: 1, status: http.StatusOK,
			arrivedAt: start.Add(2 * time.Millisecond), answeredAt: start.Add(3 * time.Millisecond),
		})
		if _, err := st.Finish(t.Context(), []store.Finish{{
			Lease: store.Lease{Delivery: store.DeliveryID{Message: message.ID, N: 1}, Epoch: 1}, State: store.Delivered,
		}}); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if s.contents, err = read(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	return s
}

// again adds a second receipt of the delivered event, that long after the start.
func (s *scene) again(after time.Duration) {
	r := s.receipts[0]
	r.attempt, r.arrivedAt, r.answeredAt = 2, s.start.Add(after), s.start.Add(after+time.Millisecond)
	s.receipts = append(s.receipts, r)
}

// inLane adds an event of a lane that was sent and answered, and one millisecond later received.
func (s *scene) inLane(id string, begun, arrived time.Duration) {
	ev := newEventOf(id, "cus_1")
	s.ledger[id] = entry{sum: ev.sum, lane: ev.lane, begun: s.start.Add(begun), ackedAt: s.start.Add(begun + time.Millisecond)}
	at := s.start.Add(arrived)
	s.receipts = append(s.receipts, receipt{
		messageID: "msg_" + id, eventID: id, named: id, sum: ev.sum, attempt: 1, status: http.StatusOK,
		arrivedAt: at, decidedAt: at, answeredAt: at,
	})
}

func (s *scene) crash(after time.Duration) {
	s.crashes = append(s.crashes, crash{from: s.start.Add(after), to: s.start.Add(after + time.Millisecond)})
}

// spoiled is a way to break a scene, and how the judge has to tell it; nil where it has to say nothing.
type spoiled struct {
	name  string
	spoil func(s *scene)
	found func(j *judgement) []string
}

var spoiledScenes = []spoiled{
	{"nothing wrong", func(*scene) {}, nil},
	{
		"lost: stored as delivered and never received", func(s *scene) { s.receipts = nil },
		func(j *judgement) []string { return j.lost },
	},
	{"lost: not in the store", func(s *scene) {
		s.ledger["evt_gone"] = entry{ackedAt: s.start}
	}, func(j *judgement) []string { return j.lost }},
	{"not lost: never answered", func(s *scene) { s.ledger["evt_unanswered"] = entry{} }, nil},
	{"phantom at the upstream", func(s *scene) {
		s.receipts = append(s.receipts, receipt{eventID: "evt_never_sent"})
	}, func(j *judgement) []string { return j.phantom }},
	{
		"phantom in the store", func(s *scene) { delete(s.ledger, "evt_open") },
		func(j *judgement) []string { return j.phantom },
	},
	{
		"another body", func(s *scene) { s.receipts[0].sum = sha256.Sum256(nil) },
		func(j *judgement) []string { return j.corrupt },
	},
	{
		"another event id", func(s *scene) { s.receipts[0].named = "evt_open" },
		func(j *judgement) []string { return j.corrupt },
	},
	{"two messages of one event", func(s *scene) {
		s.again(100 * time.Millisecond)
		s.crash(50 * time.Millisecond)
		s.receipts[1].messageID = "msg_other"
	}, func(j *judgement) []string { return j.doubled }},
	{
		"delivered twice", func(s *scene) { s.again(100 * time.Millisecond) },
		func(j *judgement) []string { return j.unexplained },
	},
	{"delivered twice around a crash", func(s *scene) {
		s.again(100 * time.Millisecond)
		s.crash(50 * time.Millisecond)
	}, nil},
	{"delivered twice long before a crash", func(s *scene) {
		s.again(time.Second)
		s.crash(500 * time.Millisecond)
	}, func(j *judgement) []string { return j.unexplained }},
	{"delivered twice and then a crash", func(s *scene) {
		s.again(10 * time.Millisecond)
		s.crash(20 * time.Millisecond)
	}, func(j *judgement) []string { return j.unexplained }},
	{"replayed", func(s *scene) {
		s.again(time.Second)
		s.receipts[1].replay = true
	}, nil},
	{"books out of balance", func(s *scene) {
		b := s.contents.books["stripe:default"]
		b.Open++
		s.contents.books["stripe:default"] = b
	}, func(j *judgement) []string { return j.books }},
}

var spoiledLanes = []spoiled{
	{"overtaken in its lane", func(s *scene) {
		s.inLane("evt_early", 10*time.Millisecond, 20*time.Millisecond)
		s.inLane("evt_late", 12*time.Millisecond, 19*time.Millisecond)
	}, func(j *judgement) []string { return j.order }},
	{"in the order of its lane", func(s *scene) {
		s.inLane("evt_early", 10*time.Millisecond, 20*time.Millisecond)
		s.inLane("evt_late", 12*time.Millisecond, 22*time.Millisecond)
	}, nil},
	{"overtaken by one that was sent before its 2xx", func(s *scene) {
		s.inLane("evt_early", 10*time.Millisecond, 20*time.Millisecond)
		s.inLane("evt_late", 10*time.Millisecond, 18*time.Millisecond)
	}, nil},
	{"tried again after a later one of its lane", func(s *scene) {
		s.inLane("evt_early", 10*time.Millisecond, 20*time.Millisecond)
		s.inLane("evt_late", 12*time.Millisecond, 22*time.Millisecond)
		s.receipts = append(s.receipts, s.receipts[len(s.receipts)-2])
		again := &s.receipts[len(s.receipts)-1]
		again.arrivedAt, again.decidedAt = s.start.Add(30*time.Millisecond), s.start.Add(30*time.Millisecond)
		s.receipts[len(s.receipts)-3].status = http.StatusInternalServerError
	}, func(j *judgement) []string { return j.order }},
	{"two of one lane at once", func(s *scene) {
		s.inLane("evt_early", 10*time.Millisecond, 20*time.Millisecond)
		s.inLane("evt_late", 12*time.Millisecond, 22*time.Millisecond)
		s.receipts[len(s.receipts)-2].decidedAt = s.start.Add(23 * time.Millisecond)
	}, func(j *judgement) []string { return j.order }},
	{"two of one lane around a crash", func(s *scene) {
		s.inLane("evt_early", 10*time.Millisecond, 20*time.Millisecond)
		s.inLane("evt_late", 12*time.Millisecond, 22*time.Millisecond)
		s.receipts[len(s.receipts)-2].decidedAt = s.start.Add(23 * time.Millisecond)
		s.crash(21 * time.Millisecond)
	}, nil},
}

// TestJudgeFindsWhatIsWrong breaks a campaign in every way that the judge knows: a judge that sees nothing proves
// nothing.
func TestJudgeFindsWhatIsWrong(t *testing.T) {
	for _, c := range slices.Concat(spoiledScenes, spoiledLanes) {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			c.spoil(s)
			j := judge(s.ledger, s.receipts, s.contents, s.crashes)
			all := len(j.lost) + len(j.phantom) + len(j.corrupt) + len(j.doubled) + len(j.unexplained) + len(j.order) + len(j.books)
			if c.found == nil {
				if all > 0 {
					t.Errorf("found %+v, want nothing", j)
				}
				return
			}
			if n := len(c.found(&j)); n != 1 || all != 1 {
				t.Errorf("found %d of it and %d in all, want one and nothing else: %+v", n, all, j)
			}
		})
	}
}
