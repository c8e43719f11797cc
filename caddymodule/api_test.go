// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// desk is an operator's place at a running relay.
type desk struct {
	*running
	t   *testing.T
	api *api
	app *upstream
}

// newDesk starts a relay named "in" that delivers to an app. Options go into the
// global block, lines into that of the relay.
func newDesk(t *testing.T, answer http.HandlerFunc, options, lines string) *desk {
	t.Helper()
	app := newUpstream(t, answer)
	r := start(t, "{\n\trelay {\n\t\tstore memory\n\t\t"+options+"\n\t}\n}\n:0 {\n\trelay /in "+app.addr()+" {\n\t\tname in\n\t\t"+lines+"\n\t}\n}\n")
	d := &desk{running: r, t: t, app: app}
	d.api = newAPI(func() (*App, error) { return r.app, nil }, adminActor)
	return d
}

// do sends a request to the api and returns its status and answer.
func (d *desk) do(method, target, body string) (int, string) {
	d.t.Helper()
	w := httptest.NewRecorder()
	err := d.api.serve(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	if err == nil {
		return w.Code, w.Body.String()
	}
	refused, ok := errors.AsType[caddy.APIError](err)
	if !ok {
		d.t.Fatalf("%s %s: %v is no caddy.APIError", method, target, err)
	}
	return refused.HTTPStatus, refused.Err.Error()
}

// get reads an answer that must be there.
func get[V any](d *desk, target string) V {
	d.t.Helper()
	return ask[V](d, http.MethodGet, target, "")
}

func ask[V any](d *desk, method, target, body string) V {
	d.t.Helper()
	status, answer := d.do(method, target, body)
	var v V
	if err := json.Unmarshal([]byte(answer), &v); status/100 != 2 || err != nil {
		d.t.Fatalf("%s %s: %d %s %v", method, target, status, answer, err)
	}
	return v
}

// send has the relay accept a message and returns its id.
func (d *desk) send(body string, header ...string) string {
	d.t.Helper()
	r := post("/in", body)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if w := serve(d.t, d.relay["in"], r); w.Code != http.StatusOK {
		d.t.Fatalf("status %d", w.Code)
	}
	return get[messagesPage](d, "/relay/messages?limit=1").Messages[0].ID
}

// eventually waits until ok says so. Nobody is told when the engine has recorded
// an outcome, so it has to ask again and again.
func (d *desk) eventually(ok func() bool) bool {
	deadline, tick := time.NewTimer(20*time.Second), time.NewTicker(time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return false
		}
	}
	return true
}

// await waits until the books of the destination are as wanted. At no time may
// they not balance.
func (d *desk) await(what string, ok func(store.Books) bool) {
	d.t.Helper()
	var b store.Books
	if !d.eventually(func() bool {
		books, err := d.running.app.engine.Books(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		if b = books["in:default"]; !b.Balanced() {
			d.t.Fatalf("books do not balance: %+v", b)
		}
		return ok(b)
	}) {
		d.t.Fatalf("not %s: books are %+v", what, b)
	}
}

func (d *desk) awaitDead(n uint64) {
	d.t.Helper()
	d.await("dead", func(b store.Books) bool { return b.Dead == n })
}

// failing answers 500.
func failing(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }

func TestOperatorRedrivesReplaysAndDeletes(t *testing.T) {
	d := newDesk(t, failing, "", "retry off")
	id := d.send("a")
	d.awaitDead(1)
	dead := get[deliveriesPage](d, "/relay/deliveries?state=dead&destination=in:default&source=in")
	if len(dead.Deliveries) != 1 || dead.Deliveries[0].ID != id+"/1" || dead.Deliveries[0].LastStatus != 500 {
		t.Fatalf("dead: %+v", dead)
	}
	redriven := ask[deliveryView](d, http.MethodPost, "/relay/deliveries/"+id+"/1/redrive", "")
	if redriven.State != "pending" || redriven.Generation != 1 {
		t.Errorf("re-driven: %+v", redriven)
	}
	d.awaitDead(1)
	replayed := ask[deliveriesPage](d, http.MethodPost, "/relay/messages/"+id+"/replay", `{"to":"default"}`)
	if len(replayed.Deliveries) != 1 || replayed.Deliveries[0].ID != id+"/2" || replayed.Deliveries[0].ReplayOf != 1 {
		t.Errorf("replayed: %+v", replayed)
	}
	d.awaitDead(2)
	for _, want := range []struct{ replay, key string }{{"", id}, {"", id + "-r1"}, {"1", id + "-r2"}} {
		h := (<-d.app.got).request.Header
		if h.Get("Relay-Replay") != want.replay || h.Get("Idempotency-Key") != want.key || h.Get("Relay-Id") != id {
			t.Errorf("Relay-Replay %q, Idempotency-Key %q, want %+v", h.Get("Relay-Replay"), h.Get("Idempotency-Key"), want)
		}
	}
	shown := get[messageView](d, "/relay/messages/"+id)
	if len(shown.Deliveries) != 2 || len(shown.Deliveries[0].Tried) != 2 || shown.Deliveries[0].Tried[0].Outcome != "refused" {
		t.Errorf("shown: %+v", shown)
	}
	if one := get[deliveryView](d, "/relay/deliveries/"+id+"/2"); one.ID != id+"/2" || len(one.Tried) != 1 {
		t.Errorf("shown: %+v", one)
	}
	if status, _ := d.do(http.MethodDelete, "/relay/messages/"+id, ""); status != http.StatusOK {
		t.Errorf("deleting: %d", status)
	}
	if status, _ := d.do(http.MethodGet, "/relay/messages/"+id, ""); status != http.StatusNotFound {
		t.Errorf("showing what was deleted: %d", status)
	}
	d.await("deleted", func(b store.Books) bool { return b.Deleted == 2 && b.Made == 2 })
	for _, action := range []string{"redrive", "replay", "delete"} {
		if !logged(`action="` + action + `"`) {
			t.Errorf("%s is not in the audit log", action)
		}
	}
}

func TestOperatorCancelsPausesAndResumes(t *testing.T) {
	d := newDesk(t, nil, "", "")
	pause := "/relay/destinations/" + url.PathEscape("in:default")
	if status, answer := d.do(http.MethodPost, pause+"/pause", `{"reason":"moving house"}`); status != http.StatusOK {
		t.Fatalf("pausing: %d %s", status, answer)
	}
	first, second := d.send("a"), d.send("b")
	stats := get[statsView](d, "/relay/stats")
	if len(stats.Destinations) != 1 || !stats.Accepting || stats.Store.Location != "memory" {
		t.Fatalf("stats: %+v", stats)
	}
	if s := stats.Destinations[0]; s.State != "paused" || s.Open != 2 || s.Pause == nil || s.Pause.Reason != "moving house" || s.OldestOpenAt == nil {
		t.Errorf("destination: %+v", s)
	}
	canceled := ask[deliveryView](d, http.MethodPost, "/relay/deliveries/"+first+"/1/cancel", "")
	if canceled.State != "canceled" || canceled.EndedAt == nil {
		t.Errorf("canceled: %+v", canceled)
	}
	if status, says := d.do(http.MethodPost, "/relay/deliveries/"+first+"/1/cancel", ""); status != http.StatusConflict || !strings.Contains(says, "only open ones are canceled") {
		t.Errorf("canceling again: %d %s", status, says)
	}
	if status, says := d.do(http.MethodPost, "/relay/deliveries/"+first+"/1/redrive", ""); status != http.StatusConflict || !strings.Contains(says, "to deliver a message once more, replay it") {
		t.Errorf("re-driving a canceled one: %d %s", status, says)
	}
	if status, _ := d.do(http.MethodPost, pause+"/resume", ""); status != http.StatusOK {
		t.Error("the destination can not be resumed")
	}
	d.await("delivered", func(b store.Books) bool { return b.Delivered == 1 && b.Canceled == 1 })
	if got := (<-d.app.got).request.Header.Get("Relay-Id"); got != second {
		t.Errorf("delivered %s, want %s", got, second)
	}
}

func TestOperatorActsOnWhatAQuerySelects(t *testing.T) {
	d := newDesk(t, failing, "", "retry off")
	for i := range 5 {
		d.send(fmt.Sprint(i))
	}
	d.awaitDead(5)
	const job = `{"action":"redrive","destination":"in:default","from":"1h","to":"0s"`
	count := ask[countView](d, http.MethodPost, "/relay/jobs", job+`,"dry_run":true}`)
	if count.Count != 5 || count.More {
		t.Errorf("counted %+v", count)
	}
	started := ask[jobView](d, http.MethodPost, "/relay/jobs", job+`}`)
	d.awaitJob(started.ID)
	if n := len(get[map[string][]jobView](d, "/relay/jobs")["jobs"]); n != 1 {
		t.Errorf("%d jobs", n)
	}
	if status, _ := d.do(http.MethodPost, "/relay/jobs/"+started.ID+"/resume", ""); status != http.StatusConflict {
		t.Errorf("resuming a job that has ended: %d", status)
	}
	d.awaitDead(5)
	for i, want := range []string{"", "", "", "", "", "-r1", "-r1", "-r1", "-r1", "-r1"} {
		if key := (<-d.app.got).request.Header.Get("Idempotency-Key"); !strings.HasSuffix(key, want) {
			t.Errorf("attempt %d has the key %s", i, key)
		}
	}
}

func (d *desk) awaitJob(id string) {
	d.t.Helper()
	var j jobView
	if !d.eventually(func() bool {
		j = get[jobView](d, "/relay/jobs/"+id)
		return j.State == "done"
	}) {
		d.t.Fatalf("job has not ended: %+v", j)
	}
}

func TestListsComeInPages(t *testing.T) {
	d := newDesk(t, nil, "", "")
	var ids []string
	for i := range 7 {
		ids = append(ids, d.send(fmt.Sprint(i)))
	}
	var messages, deliveries []string
	for cursor := ""; ; {
		page := get[messagesPage](d, "/relay/messages?limit=3"+cursor)
		for _, m := range page.Messages {
			messages = append(messages, m.ID)
		}
		if page.Next == "" {
			break
		}
		cursor = "&cursor=" + page.Next
	}
	for cursor := ""; ; {
		page := get[deliveriesPage](d, "/relay/deliveries?limit=3"+cursor)
		for _, v := range page.Deliveries {
			deliveries = append(deliveries, v.Message)
		}
		if page.Next == "" {
			break
		}
		cursor = "&cursor=" + url.QueryEscape(page.Next)
	}
	for i, id := range ids {
		if len(messages) != 7 || len(deliveries) != 7 || messages[6-i] != id || deliveries[i] != id {
			t.Fatalf("messages %v, deliveries %v, want %v", messages, deliveries, ids)
		}
	}
}

func TestMistakesOfOperatorsAreExplained(t *testing.T) {
	d := newDesk(t, nil, "", "")
	unknown := store.MessageID{1}.String()
	for _, c := range []struct {
		method, target, body string
		status               int
		says                 string
	}{
		{"GET", "/relay/nothing", "", 404, "there is nothing at /relay/nothing"},
		{"GET", "/relay/messages/x/y/z", "", 404, "there is nothing"},
		{"POST", "/relay/messages", "", 405, "/relay/messages takes GET, not POST"},
		{"GET", "/relay/deliveries/" + unknown + "/1/redrive", "", 405, "takes POST"},
		{"PUT", "/relay/messages/" + unknown, "", 405, "takes DELETE, GET"},
		{"GET", "/relay/messages/msg_1", "", 400, "'msg_1' is no message id"},
		{"GET", "/relay/messages/" + unknown, "", 404, "not found"},
		{"DELETE", "/relay/messages/" + unknown, "", 404, "not found"},
		{"POST", "/relay/messages/" + unknown + "/replay", "", 404, "not found"},
		{"POST", "/relay/messages/" + unknown + "/replay", `{"to":"x:y"}`, 404, "no such destination: caddy relay stats lists"},
		{"POST", "/relay/messages/" + unknown + "/replay", `{"too":1}`, 400, "unknown field"},
		{"POST", "/relay/messages/" + unknown + "/replay", `{} {}`, 400, "more behind"},
		{"POST", "/relay/messages/" + unknown + "/replay", strings.Repeat(" ", maxCall+1), 413, "65536"},
		{"POST", "/relay/deliveries/" + unknown + "/1/redrive", "", 404, "not found"},
		{"POST", "/relay/deliveries/" + unknown + "/01/redrive", "", 400, "no delivery id"},
		{"GET", "/relay/deliveries/" + unknown + "/7", "", 404, "not found"},
		{"GET", "/relay/messages?limit=0", "", 400, "a number from 1 to 1000"},
		{"GET", "/relay/messages?from=yesterday", "", 400, "from is 'yesterday', which is no time"},
		{"GET", "/relay/messages?from=1h&to=2h", "", 400, "from is not before to"},
		{"GET", "/relay/deliveries?from=1h&to=1h", "", 400, "from is not before to"},
		{"GET", "/relay/messages?source=a&source=b", "", 400, "source is given twice"},
		{"GET", "/relay/messages?sauce=a", "", 400, "unknown parameter 'sauce': this list has cursor, event_id, from, limit, source, tenant, to, type"},
		{"GET", "/relay/messages?cursor=1", "", 400, "it is the next of a page"},
		{"GET", "/relay/deliveries?state=deaf", "", 400, "state is 'deaf': it is open, pending, leased"},
		{"GET", "/relay/deliveries?cursor=" + unknown, "", 400, "it is the next of a page"},
		{"POST", "/relay/destinations/in/pause", "", 404, "a destination is written <source>:<name>, as in in:default"},
		{"POST", "/relay/destinations/in%3Atypo/resume", "", 404, "no such destination"},
		{"POST", "/relay/jobs", `{"action":"replay"}`, 400, "this would replay everything"},
		{"POST", "/relay/jobs", `{"action":"delete","state":"dead"}`, 400, "this would delete everything that is dead, so name"},
		{"POST", "/relay/jobs", `{"action":"delete","state":"open","source":"in"}`, 400, "only what has ended can be deleted, so cancel it first"},
		{"POST", "/relay/jobs", `{"action":"destroy","source":"in"}`, 400, `action is "destroy": it is redrive, replay, cancel or delete`},
		{"POST", "/relay/jobs", `{"action":"redrive","from":"soon"}`, 400, "from is 'soon', which is no time"},
		{"POST", "/relay/jobs", `{"action":"redrive","from":"1h","to":"2h"}`, 400, "from is not before to"},
		{"POST", "/relay/jobs", `{"action":"redrive","rate":-1}`, 400, "rate is -1: it is a number from 1"},
		{"POST", "/relay/jobs", `{"action":"redrive","destination":"in:typo"}`, 404, "selecting by destination \"in:typo\": no such destination"},
		{"POST", "/relay/jobs", `{"action":"cancel","destination":"in:typo","dry_run":true}`, 404, "no such destination"},
		{"GET", "/relay/jobs/job_1", "", 404, "not found"},
		{"DELETE", "/relay/jobs/job_1", "", 404, "not found"},
		{"POST", "/relay/jobs", `{"action":"redrive","source":"typo"}`, 404, `selecting by source "typo": no such source: there are in`},
		{"POST", "/relay/jobs", `{"action":"cancel","source":"typo","dry_run":true}`, 404, "no such source: there are in"},
		{"POST", "/relay/jobs", `{"action":"redrive","destination":"in:typo","source":"in"}`, 404, "no such destination: there are in:default"},
		{"GET", "/relay/messages?source=typo", "", 404, "no such source: there are in"},
		{"GET", "/relay/deliveries?source=typo&limit=1", "", 404, "no such source: there are in"},
		{"GET", "/relay/deliveries?destination=in", "", 404, `selecting by destination "in": no such destination: there are in:default`},
	} {
		status, answer := d.do(c.method, c.target, c.body)
		if status != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s %s: %d %q, want %d and %q", c.method, c.target, status, answer, c.status, c.says)
		}
	}
}

func TestOperatorIsToldThatTheRelayIsNotReady(t *testing.T) {
	d := newDesk(t, nil, "", "")
	if status, _ := d.do(http.MethodGet, "/relay/health", ""); status != http.StatusOK {
		t.Errorf("health is %d", status)
	}
	if err := d.running.app.engine.Close(); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/relay/health", "/relay/stats", "/relay/messages", "/relay/deliveries", "/relay/jobs"} {
		if status, answer := d.do(http.MethodGet, target, ""); status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", target, status, answer)
		}
	}
	none := newAPI(func() (*App, error) { return nil, relay.ErrNotReady }, adminActor)
	if err := none.serve(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/relay/stats", nil)); err == nil {
		t.Error("an api without an app answers")
	}
}

func TestNothingSecretIsShownUnlessItIsToBeRevealed(t *testing.T) {
	const canary = "canary-0a1b2c3d"
	answers := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Relay-Attempt") == "1" {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
		_, _ = w.Write([]byte("answered " + canary))
	}
	for _, reveal := range []bool{false, true} {
		options := ""
		if reveal {
			options = "admin_reveal"
		}
		d := newDesk(t, answers, options, "retry fixed 1ms")
		r := post("/in?token="+canary, `{"secret":"`+canary+`"}`)
		for _, name := range []string{"Authorization", "Cookie", "X-Gitlab-Token", "Stripe-Signature", "X-Whatever", "Referer"} {
			r.Header.Set(name, "v="+canary)
		}
		r.Header.Set("Content-Type", "application/json")
		if w := serve(t, d.relay["in"], r); w.Code != http.StatusOK {
			t.Fatalf("status %d", w.Code)
		}
		d.await("delivered", func(b store.Books) bool { return b.Delivered == 1 })
		id := get[messagesPage](d, "/relay/messages").Messages[0].ID
		var all strings.Builder
		for _, target := range []string{
			"/relay/messages", "/relay/messages/" + id, "/relay/deliveries", "/relay/deliveries/" + id + "/1", "/relay/stats", "/relay/health", "/relay/jobs",
		} {
			status, answer := d.do(http.MethodGet, target, "")
			if status != http.StatusOK {
				t.Errorf("%s: %d", target, status)
			}
			all.WriteString(answer)
		}
		_, answer := d.do(http.MethodPost, "/relay/messages/"+id+"/replay", "")
		all.WriteString(answer)
		shown := strings.Count(all.String(), canary)
		if !reveal && shown != 0 {
			t.Errorf("the canary is shown %d times: %s", shown, all.String())
		}
		if reveal && shown < 9 {
			t.Errorf("the canary is shown %d times, though it is to be revealed: %s", shown, all.String())
		}
		if !strings.Contains(all.String(), "application/json") {
			t.Error("a harmless header is hidden")
		}
		if logged(canary) || reveal != logged(`action="reveal"`) {
			t.Error("what was revealed is in the log, or that it was is not")
		}
		d.stop()
	}
}

func FuzzListQueries(f *testing.F) {
	f.Add("source=a&type=b&event_id=c&from=2h&to=2026-03-01T12:00:00Z&limit=10&cursor=msg_01M80473BFPSFEE0E301X1FNDT")
	f.Add("state=open&destination=in:default&cursor=msg_01M80473BFPSFEE0E301X1FNDT/1")
	f.Add("%zz=1;x&limit=-1&state=state(9)")
	now := time.Unix(1_700_000_000, 0)
	f.Fuzz(func(t *testing.T, raw string) {
		messages, err := parseMessageQuery(raw, now)
		if err != nil && !errors.Is(err, store.ErrInvalid) || err == nil && (messages.Limit < 1 || messages.Limit > maxPage) {
			t.Errorf("messages: %+v, %v", messages, err)
		}
		deliveries, err := parseDeliveryQuery(raw, now)
		if err != nil && !errors.Is(err, store.ErrInvalid) || err == nil && (deliveries.Limit < 1 || deliveries.Limit > maxPage || deliveries.State > store.Canceled) {
			t.Errorf("deliveries: %+v, %v", deliveries, err)
		}
	})
}
