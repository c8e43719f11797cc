// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-relay/caddy-relay/relay"
	"github.com/caddy-relay/caddy-relay/relay/store"
)

// TestNamesThatMaySelectSomethingAreTaken asks for what is in the configuration and has
// had nothing yet, and for what is in the store alone.
func TestNamesThatMaySelectSomethingAreTaken(t *testing.T) {
	d := newDesk(t, nil, "", "")
	st, err := d.running.app.engine.Store()
	if err != nil {
		t.Fatal(err)
	}
	var batch []store.Acceptance
	for _, destinations := range [][]store.NewDelivery{nil, {{Destination: "moved:ledger"}}} {
		m := &store.Message{ID: store.MessageID(ulid.Make()), Source: "without deliveries"}
		if destinations != nil {
			m.Source = "another's"
		}
		batch = append(batch, store.Acceptance{Message: m, Deliveries: destinations})
	}
	if _, err := st.Accept(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"in", "without deliveries", "another's", "moved"} {
		query := "?type=none&source=" + url.QueryEscape(source)
		for _, list := range []string{"/relay/messages", "/relay/deliveries"} {
			if status, says := d.do(http.MethodGet, list+query, ""); status != http.StatusOK {
				t.Errorf("%s of source %s: %d %s", list, source, status, says)
			}
		}
		if status, says := d.do(http.MethodPost, "/relay/jobs", fmt.Sprintf(`{"action":"cancel","dry_run":true,"source":%q}`, source)); status != http.StatusOK {
			t.Errorf("job for source %s: %d %s", source, status, says)
		}
	}
	for _, destination := range []string{"in:default", "moved:ledger"} {
		if status, says := d.do(http.MethodGet, "/relay/deliveries?state=dead&destination="+destination, ""); status != http.StatusOK {
			t.Errorf("deliveries to %s: %d %s", destination, status, says)
		}
	}
	if _, says := d.do(http.MethodGet, "/relay/messages?source=typo", ""); !strings.HasSuffix(says, "there are in, moved") {
		t.Errorf("answer is %q", says)
	}
}

func TestErrorsListSomeNames(t *testing.T) {
	names := make(map[string]bool)
	if says := thereAre(names); says != "there is none yet" {
		t.Errorf("answer is %q", says)
	}
	for i := range maxNamed + 5 {
		names[fmt.Sprintf("s%02d", i)] = true
	}
	if says := thereAre(names); !strings.HasPrefix(says, "there are s00, s01,") || !strings.HasSuffix(says, "s19 and 5 more, which caddy relay stats lists") {
		t.Errorf("answer is %q", says)
	}
}

func TestOperatorPausesWhatIsPausedForAnotherReason(t *testing.T) {
	d := newDesk(t, nil, "", "")
	pause := "/relay/destinations/" + url.PathEscape("in:default") + "/pause"
	if first := ask[pausedView](d, http.MethodPost, pause, `{"reason":"moving house"}`); first.Paused != "in:default" || first.Before != nil {
		t.Errorf("pausing: %+v", first)
	}
	again := ask[pausedView](d, http.MethodPost, pause, `{"reason":"moved, now painting"}`)
	if again.Before == nil || again.Before.Reason != "moving house" || again.Before.Since.IsZero() {
		t.Errorf("pausing again: %+v", again)
	}
	stats := get[statsView](d, "/relay/stats").Destinations
	if len(stats) != 1 || stats[0].Pause == nil || stats[0].Pause.Reason != "moved, now painting" || !stats[0].Pause.Since.Equal(again.Before.Since) {
		t.Errorf("stats: %+v", stats)
	}
}

func TestOperatorDeletesAJob(t *testing.T) {
	d := newDesk(t, failing, "", "retry off")
	d.send("a")
	d.awaitDead(1)
	pause := "/relay/destinations/" + url.PathEscape("in:default")
	ask[pausedView](d, http.MethodPost, pause+"/pause", "")
	job := ask[jobView](d, http.MethodPost, "/relay/jobs", `{"action":"redrive"}`)
	if status, says := d.do(http.MethodDelete, "/relay/jobs/"+job.ID, ""); status != http.StatusConflict || !strings.Contains(says, "cancel it first") {
		t.Errorf("deleting one that runs: %d %s", status, says)
	}
	ask[jobView](d, http.MethodPost, "/relay/jobs/"+job.ID+"/cancel", "")
	if status, says := d.do(http.MethodDelete, "/relay/jobs/"+job.ID, ""); status != http.StatusOK {
		t.Errorf("deleting it: %d %s", status, says)
	}
	if jobs := get[map[string][]jobView](d, "/relay/jobs")["jobs"]; len(jobs) != 0 {
		t.Errorf("jobs are %+v", jobs)
	}
	if !logged(`action="delete job"`) {
		t.Error("it is not in the audit log")
	}
}

func TestAJobThatCanNotBeReadIsSaidToBe(t *testing.T) {
	v := viewStatus(&relay.JobStatus{Job: store.Job{ID: "job_1"}, Err: fmt.Errorf("job_1: %w", store.ErrCorrupt)})
	if v.ID != "job_1" || v.State != illegible || !strings.Contains(v.Error, "corrupt") {
		t.Errorf("shown as %+v", v)
	}
	if err := explainAPI(explainJob(store.ErrCorrupt)); !strings.Contains(err.Error(), "caddy relay jobs delete removes it") {
		t.Errorf("error is %v", err)
	}
}
