// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
)

// terminalText replaces what a terminal would take for more than text: ids and
// types come from whoever sends webhooks.
func terminalText(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// line prints one line of text.
func line(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintln(w, terminalText(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")))
}

// table prints rows under a heading, whose columns are parted by bars.
func table(w io.Writer, heading string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, strings.ReplaceAll(heading, "|", "\t"))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = cellText(cell)
		}
		_, _ = fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush()
}

// cellText is what stands in a cell.
func cellText(text string) string {
	if text == "" {
		return "-"
	}
	return terminalText(strings.NewReplacer("\n", " ", "\t", " ").Replace(text))
}

// maxCell bounds the width of a text in a list, in characters.
const maxCell = 100

// cut shortens a text for a list.
func cut(text string) string {
	if runes := []rune(text); len(runes) > maxCell {
		return string(runes[:maxCell-3]) + "..."
	}
	return text
}

func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(int64(min(n, 1<<62))) + " " + many
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func clockOr(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return clock(*t)
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func printStats(w io.Writer, v *statsView) {
	accepting := "accepting"
	if !v.Accepting {
		accepting = "NOT ACCEPTING: " + v.Error
	}
	line(w, "relay %s, Caddy %s: %s", v.Version, v.CaddyVersion, accepting)
	durable := "durable"
	if !v.Store.Durable {
		durable = "NOT DURABLE"
	}
	space := ""
	if v.Store.UsedBytes > 0 || v.Store.FreeBytes > 0 {
		space = fmt.Sprintf(", %s used, %s free", humanize.IBytes(v.Store.UsedBytes), humanize.IBytes(v.Store.FreeBytes))
	}
	line(w, "store %s: %s%s", v.Store.Location, durable, space)
	if n := v.Store.UnreadableFiles; n > 0 {
		line(w, "CORRUPT: %s of messages can not be read, and the space comes back when all messages in there are removed: delete those whose last attempt was quarantined",
			plural(uint64(n), "file", "files"))
	}
	if v.JobsRunning > 0 {
		line(w, "%s running: caddy relay jobs", plural(uint64(v.JobsRunning), "job", "jobs"))
	}
	_, _ = fmt.Fprintln(w)
	rows := make([][]string, 0, len(v.Destinations))
	for i := range v.Destinations {
		d := &v.Destinations[i]
		oldest := ""
		if d.OldestOpenAt != nil {
			oldest = v.Now.Sub(*d.OldestOpenAt).Truncate(time.Second).String()
		}
		rows = append(rows, []string{
			d.ID, d.State, number(d.Open), oldest, number(d.Dead), number(d.Delivered), number(d.Canceled), number(d.Deleted), number(d.Made),
		})
	}
	table(w, "DESTINATION|STATE|OPEN|OLDEST|DEAD|DELIVERED|CANCELED|DELETED|MADE", rows)
	for i := range v.Destinations {
		switch d := &v.Destinations[i]; {
		case d.Pause == nil || d.Pause.Reason == "":
		case d.Pause.Since.IsZero():
			line(w, "%s is paused: %s", d.ID, d.Pause.Reason)
		default:
			line(w, "%s is paused since %s: %s", d.ID, clock(d.Pause.Since), d.Pause.Reason)
		}
	}
}

// printPaused says what a pause for a reason has done.
func printPaused(w io.Writer, v *pausedView, reason string) {
	if v.Before == nil {
		line(w, "%s is paused: messages are accepted, and wait", v.Paused)
		return
	}
	why := "without a reason"
	if v.Before.Reason != "" {
		why = v.Before.Reason
	}
	line(w, "%s was paused already, since %s: %s", v.Paused, clock(v.Before.Since), why)
	if reason != "" && reason != v.Before.Reason {
		line(w, "The reason is now: %s", reason)
	}
}

func printMessages(w io.Writer, page *messagesPage) {
	rows := make([][]string, 0, len(page.Messages))
	for i := range page.Messages {
		m := &page.Messages[i]
		rows = append(rows, []string{m.ID, clock(m.ReceivedAt), m.Source, cut(m.Type), cut(m.EventID)})
	}
	table(w, "MESSAGE|RECEIVED|SOURCE|TYPE|EVENT ID", rows)
	printNext(w, page.Next)
}

func printDeliveries(w io.Writer, page *deliveriesPage) {
	rows := make([][]string, 0, len(page.Deliveries))
	for i := range page.Deliveries {
		rows = append(rows, deliveryRow(&page.Deliveries[i]))
	}
	table(w, "DELIVERY|DESTINATION|STATE|ATTEMPTS|DUE OR ENDED|LAST ANSWER", rows)
	printNext(w, page.Next)
}

func printNext(w io.Writer, next string) {
	if next != "" {
		line(w, "There may be more: add --cursor %s", next)
	}
}

func deliveryRow(d *deliveryView) []string {
	last := d.LastError
	if last == "" && d.LastStatus != 0 {
		last = strconv.Itoa(d.LastStatus)
	}
	return []string{d.ID, d.Destination, d.State, number(uint64(d.Attempts)), clockOr(d.DueAt, clockOr(d.EndedAt, "")), cut(last)}
}

func printMessage(w io.Writer, m *messageView) {
	line(w, "%s from %s", m.ID, m.Source)
	for _, fact := range [][2]string{
		{"received", clock(m.ReceivedAt)}, {"event", m.EventID}, {"type", m.Type}, {"tenant", m.Tenant}, {"verified by", m.VerifiedBy},
	} {
		if fact[1] != "" {
			line(w, "  %-12s %s", fact[0], fact[1])
		}
	}
	if r := m.Request; r != nil {
		line(w, "  %-12s %s %s", "request", r.Method, r.URI)
		line(w, "  %-12s %s from %s", "host", r.Host, r.ClientIP)
		line(w, "  %-12s %s, SHA-256 %s", "body", plural(uint64(r.BodySize), "byte", "bytes"), m.BodySHA256)
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			line(w, "    %s: %s", name, strings.Join(r.Header[name], ", "))
		}
		if r.Body != nil {
			_, _ = fmt.Fprintf(w, "\n%s\n", terminalText(*r.Body))
		}
	}
	for i := range m.Deliveries {
		_, _ = fmt.Fprintln(w)
		printDelivery(w, &m.Deliveries[i])
	}
}

func printDelivery(w io.Writer, d *deliveryView) {
	line(w, "%s to %s is %s", d.ID, d.Destination, d.State)
	if d.DueAt != nil {
		line(w, "  due %s", clock(*d.DueAt))
	}
	if d.Generation > 0 || d.ReplayOf > 0 {
		origin := ""
		if d.ReplayOf > 0 {
			origin = fmt.Sprintf(", replays delivery %d", d.ReplayOf)
		}
		line(w, "  generation %d%s", d.Generation, origin)
	}
	if len(d.Tried) == 0 {
		line(w, "  no attempts")
		return
	}
	rows := make([][]string, 0, len(d.Tried))
	for i := range d.Tried {
		a := &d.Tried[i]
		status := ""
		if a.Status != 0 {
			status = strconv.Itoa(a.Status)
		}
		outcome := a.Outcome
		if a.Superseded {
			outcome += " (superseded)"
		}
		rows = append(rows, []string{
			"  " + number(uint64(a.Number)), clock(a.StartedAt), strconv.FormatFloat(a.DurationMS, 'f', 1, 64) + "ms", outcome, status, a.Error,
		})
	}
	table(w, "  ATTEMPT|STARTED|TOOK|OUTCOME|STATUS|ERROR", rows)
}

func printJobs(w io.Writer, list *map[string][]jobView) {
	jobs := (*list)["jobs"]
	rows := make([][]string, 0, len(jobs))
	for i := range jobs {
		j := &jobs[i]
		if j.State == illegible {
			rows = append(rows, []string{j.ID, "", j.State, "", "", clock(j.CreatedAt), "can not be read: caddy relay jobs delete " + j.ID, ""})
			continue
		}
		what := cut(strings.Join(selected(j), " "))
		rows = append(rows, []string{j.ID, j.Action, j.State, number(j.Done), number(j.Skipped), clock(j.CreatedAt), what, j.WaitsFor})
	}
	table(w, "JOB|ACTION|STATE|DONE|SKIPPED|BEGUN|SELECTS|WAITS FOR", rows)
}

// selected says what a job selects.
func selected(j *jobView) []string {
	var all []string
	for _, by := range [][2]string{
		{"destination", j.Destination}, {"source", j.Source}, {"type", j.Type}, {"event_id", j.EventID}, {"state", j.Selects}, {"replay_to", j.ReplayTo},
	} {
		if by[1] != "" {
			all = append(all, by[0]+"="+by[1])
		}
	}
	for _, end := range []struct {
		name string
		at   *time.Time
	}{{"from", j.From}, {"to", j.To}} {
		if end.at != nil {
			all = append(all, end.name+"="+end.at.UTC().Format(time.RFC3339))
		}
	}
	return all
}

func printJob(w io.Writer, j *jobView) {
	if j.State == illegible {
		line(w, "%s can not be read, and is not worked on", j.ID)
		line(w, "  %-10s %s", "begun", clock(j.CreatedAt))
		line(w, "  %-10s %s", "error", j.Error)
		line(w, "To remove it: caddy relay jobs delete %s", j.ID)
		return
	}
	line(w, "%s: %s, %s", j.ID, j.Action, j.State)
	line(w, "  %-10s %s", "selects", strings.Join(selected(j), " "))
	line(w, "  %-10s %d, skipped %d", "done", j.Done, j.Skipped)
	line(w, "  %-10s %s by %s", "begun", clock(j.CreatedAt), j.By)
	if j.Reached != nil && j.EndedAt == nil {
		line(w, "  %-10s messages received at %s", "reached", clock(*j.Reached))
	}
	if j.EndedAt != nil {
		line(w, "  %-10s %s", "ended", clock(*j.EndedAt))
	}
	if j.WaitsFor != "" {
		line(w, "  %-10s %s, which is down, paused or has enough due", "waits for", j.WaitsFor)
	}
	if len(j.PutOff) > 0 {
		line(w, "  %-10s %s, until they are up again", "put off", strings.Join(j.PutOff, ", "))
	}
	if j.Error != "" {
		line(w, "  %-10s %s", "error", j.Error)
	}
}
