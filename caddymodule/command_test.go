// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var updateGoldens = flag.Bool("update-commands", false, "write testdata/commands anew")

// Times and texts of the goldens. What senders choose holds what would do
// something to a terminal.
var (
	goldenTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	goldenLate = goldenTime.Add(90 * time.Second)
)

const (
	goldenMessage = "msg_01M80473BFPSFEE0E301X1FNDT"
	goldenForeign = "evt_\x1b[31m\r\u202eX\n1"
)

func goldenDelivery() deliveryView {
	return deliveryView{
		ID: goldenMessage + "/1", Message: goldenMessage, Destination: "stripe:default", State: "dead", CreatedAt: goldenTime, EndedAt: &goldenLate,
		Attempts: 2, LastStatus: 500, LastError: "app answered 500 to POST /stripe with Host hooks.example.com: " + strings.Repeat("long ", 20),
		Tried: []attemptView{
			{Number: 1, StartedAt: goldenTime, DurationMS: 12.34, Outcome: "unreachable", Error: "dial tcp 127.0.0.1:9000: connection refused"},
			{Number: 2, StartedAt: goldenLate, DurationMS: 30_000, Outcome: "refused", Status: 500, Error: "app answered 500", Superseded: true},
		},
	}
}

// goldenTables are what commands print for people, by the name of the golden.
func goldenTables() map[string]func(io.Writer) {
	replay := deliveryView{
		ID: goldenMessage + "/2", Message: goldenMessage, Destination: "stripe:ledger", State: "waiting", CreatedAt: goldenTime, DueAt: &goldenLate,
		Generation: 1, ReplayOf: 1,
	}
	body := "{\"a\":\"\x1b[2J\"}\n"
	return map[string]func(io.Writer){
		"stats": func(w io.Writer) {
			printStats(w, &statsView{
				healthView: healthView{Accepting: true, Store: storeView{Location: "/var/lib/caddy/relay", Durable: true, UsedBytes: 12 << 20, FreeBytes: 40 << 30}},
				Version:    "v0.1.0", CaddyVersion: "v2.11.9", Now: goldenLate, JobsRunning: 1,
				Destinations: []destinationView{
					{ID: "github:default", State: "paused", Pause: &pauseView{Since: goldenTime, Reason: "moving the database"}, Made: 3, Open: 3, OldestOpenAt: &goldenTime},
					{ID: "stripe:default", State: "up", Made: 1204, Delivered: 1200, Dead: 2, Canceled: 1, Deleted: 1},
				},
			})
		},
		"stats_failed": func(w io.Writer) {
			printStats(w, &statsView{healthView: healthView{Error: "store has failed: disk\n gone", Store: storeView{Location: "memory", UnreadableFiles: 1}}, Version: "v0.1.0", CaddyVersion: "v2.11.9", Now: goldenLate})
		},
		"messages": func(w io.Writer) {
			printMessages(w, &messagesPage{Next: goldenMessage, Messages: []messageView{
				{ID: goldenMessage, Source: "stripe", Type: "invoice.paid", EventID: goldenForeign, ReceivedAt: goldenTime},
				{ID: goldenMessage, Source: "github", ReceivedAt: goldenLate},
			}})
		},
		"deliveries": func(w io.Writer) {
			printDeliveries(w, &deliveriesPage{Deliveries: []deliveryView{goldenDelivery(), replay}})
		},
		"message": func(w io.Writer) {
			printMessage(w, &messageView{
				ID: goldenMessage, Source: "stripe", EventID: goldenForeign, Type: "invoice.paid", VerifiedBy: "stripe", ReceivedAt: goldenTime, BodySHA256: "ab12",
				Request: &requestView{
					Method: "POST", URI: "/stripe?REDACTED", Host: "hooks.example.com", ClientIP: "203.0.113.7", BodySize: 1, Body: &body,
					Header: map[string][]string{"Stripe-Signature": {"REDACTED"}, "Content-Type": {"application/json"}},
				},
				Deliveries: []deliveryView{goldenDelivery(), replay},
			})
		},
		"secrets": func(w io.Writer) {
			printSecrets(w, &secretsView{Secrets: []expectedSecret{
				{Source: "hooks/asana", Scheme: "asana", Name: "board-a", Learned: true, LearnedAt: goldenTime},
				{Source: "hooks/notion", Scheme: "notion", Name: "default"},
			}})
		},
		"jobs": func(w io.Writer) {
			printJobs(w, &map[string][]jobView{"jobs": {
				{ID: "job_4", State: illegible, CreatedAt: goldenLate, Error: "stored data is corrupt"},
				{ID: "job_3", Action: "delete", State: "paused", Selects: "dead", To: &goldenTime, CreatedAt: goldenLate, Done: 99},
				{ID: "job_2", Action: "replay", State: "running", Source: "stripe", From: &goldenTime, ReplayTo: "stripe:ledger", CreatedAt: goldenLate, Done: 1204, WaitsFor: "stripe:ledger"},
				{ID: "job_1", Action: "redrive", State: "done", Selects: "dead", CreatedAt: goldenTime, EndedAt: &goldenLate, Done: 7, Skipped: 1},
			}})
		},
		"job_illegible": func(w io.Writer) {
			printJob(w, &jobView{ID: "job_1", State: illegible, CreatedAt: goldenTime, Error: "job \"job_1\": stored data is corrupt"})
		},
		"paused": func(w io.Writer) {
			was := &pauseView{Since: goldenTime, Reason: "moving the database"}
			printPaused(w, &pausedView{Paused: "stripe:default"}, "moving the database")
			printPaused(w, &pausedView{Paused: "stripe:default", Before: was}, "still moving")
			printPaused(w, &pausedView{Paused: "stripe:default", Before: was}, "")
			printPaused(w, &pausedView{Paused: "stripe:default", Before: &pauseView{Since: goldenTime}}, "moving")
		},
		"job": func(w io.Writer) {
			printJob(w, &jobView{
				ID: "job_1", Action: "redrive", State: "failed", Selects: "dead", From: &goldenTime, To: &goldenLate, By: "127.0.0.1:4242", CreatedAt: goldenTime, Reached: &goldenLate,
				Done: 7, Skipped: 1, PutOff: []string{"a:b", "c:d"}, WaitsFor: "e:f", Error: "disk full",
			})
		},
	}
}

func TestCommandsPrintTables(t *testing.T) {
	for name, show := range goldenTables() {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			show(&got)
			golden(t, filepath.Join("testdata", "commands", name+".txt"), got.Bytes())
		})
	}
}

// golden compares with a file, or writes it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *updateGoldens {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")); !bytes.Equal(got, want) {
		t.Errorf("%s differs:\n%s\nwant\n%s", path, got, want)
	}
}

func TestNothingThatIsPrintedMovesTheCursor(t *testing.T) {
	for _, text := range []string{"\x1b[2J", "\r", "\u202e", "\x07", "\u200b", "\x9b"} {
		if got := terminalText("a" + text + "b"); strings.Contains(got, text) {
			t.Errorf("%q is printed as %q", text, got)
		}
	}
}
