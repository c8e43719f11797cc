// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// fails is the behavior of an app that answers 500.
func fails(context.Context, receipt) int { return http.StatusInternalServerError }

// ran is how a command has ended.
type ran struct {
	out, err string
	code     int
}

// operate runs a caddy relay command.
func (s *server) operate(args ...string) ran {
	s.t.Helper()
	s.awaitConfiguration()
	cmd := s.command(append([]string{"relay"}, args...)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if failed, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		s.t.Fatalf("running caddy relay %v: %v", args, err)
	} else if ok {
		return ran{out.String(), said.String(), failed.ExitCode()}
	}
	return ran{out: out.String(), err: said.String()}
}

// must is operate for commands that have to succeed, at the server's own admin endpoint.
func (s *server) must(args ...string) string {
	s.t.Helper()
	r := s.operate(append(args, "--address", s.admin)...)
	if r.code != 0 {
		s.t.Fatalf("caddy relay %v ended with %d: %s", args, r.code, r.err)
	}
	return r.out
}

// parse reads the JSON that a command has printed.
func parse[V any](t *testing.T, out string) V {
	t.Helper()
	var v V
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return v
}

// listed are the lists that commands print, as far as tests look at them.
type listed struct {
	Deliveries []struct{ ID, Message, State string }
	Messages   []struct {
		ID      string
		EventID string `json:"event_id"`
	}
	Destinations []struct {
		ID, State  string
		Open, Dead int
		Delivered  int
	}
	State string
	ID    string
	Done  int
	Count int
}

// newDeadLetters returns a gateway in whose store there are n dead letters.
func newDeadLetters(t *testing.T, n int) *gateway {
	t.Helper()
	g := newGateway(t, "retry off")
	g.u.turn(fails)
	g.run()
	g.p.sendMany(n, 8)
	g.await("all are dead", func(l listed) bool { return len(l.Destinations) == 1 && l.Destinations[0].Dead == n })
	return g
}

// await waits until the stats are as wanted.
func (g *gateway) await(what string, ok func(listed) bool) {
	g.s.t.Helper()
	eventually(g.s.t, 60*time.Second, what, func() bool {
		var l listed
		if err := json.Unmarshal(g.s.adminGet("/relay/stats"), &l); err != nil {
			g.s.t.Fatal(err)
		}
		return len(l.Destinations) > 0 && ok(l) // none while Caddy starts
	})
}

// TestP3_OperatorCommands uses the commands as an operator would, after an outage.
func TestP3_OperatorCommands(t *testing.T) {
	t.Parallel()
	g := newDeadLetters(t, 3)
	dead := parse[listed](t, g.s.must("deliveries", "--state", "dead", "--destination", "stripe:default", "--from", "1h", "--json")).Deliveries
	if len(dead) != 3 {
		t.Fatalf("%d dead deliveries are listed", len(dead))
	}
	first := dead[0]
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"stats"}, "stripe:default  up     0     -       3     0          0         0        3"},
		{[]string{"messages", "--source", "stripe"}, first.Message},
		{[]string{"deliveries", "--limit", "1"}, "There may be more: add --cursor " + first.ID},
		{[]string{"show", first.Message}, "Stripe-Signature: REDACTED"},
		{[]string{"show", first.ID}, "refused  500"},
		{[]string{"redrive", "--all", "--dry-run"}, "3 deliveries to redrive; nothing was changed"},
		{[]string{"pause", "stripe:default", "--reason", "moving house"}, "stripe:default is paused"},
		{[]string{"stats"}, "moving house"},
		{[]string{"redrive", first.ID}, "re-driven " + first.ID + " to stripe:default"},
		{[]string{"cancel", first.ID}, "canceled " + first.ID},
		{[]string{"replay", first.Message, "--replay-to", "default"}, "replayed " + first.Message + "/2 to stripe:default"},
		{[]string{"resume", "stripe:default"}, "stripe:default is resumed"},
		{[]string{"delete", dead[1].Message}, "deleted " + dead[1].Message},
		{[]string{"delete", "--source", "stripe", "--state", "dead", "--dry-run"}, "1 message to delete; nothing was changed"},
	} {
		if c.args[0] == "resume" {
			g.u.turn(well)
		}
		if out := g.s.must(c.args...); !strings.Contains(out, c.says) {
			t.Errorf("caddy relay %v says\n%swant %q", c.args, out, c.says)
		}
	}
	g.await("the replay is delivered", func(l listed) bool { return l.Destinations[0].Delivered == 1 && l.Destinations[0].Open == 0 })
	job := strings.Fields(g.s.must("redrive", "--destination", "stripe:default"))[0]
	eventually(t, 30*time.Second, "the job has ended", func() bool { return strings.Contains(g.s.must("show", job), "redrive, done") })
	if out := g.s.must("jobs"); !strings.Contains(out, job+"  redrive  done   1 ") {
		t.Errorf("jobs are\n%s", out)
	}
	g.await("all is done", func(l listed) bool { return l.Destinations[0].Delivered == 2 && l.Destinations[0].Dead == 0 })
	job = strings.Fields(g.s.must("delete", "--destination", "stripe:default", "--to", "0s"))[0]
	eventually(t, 30*time.Second, "the job has ended", func() bool { return strings.Contains(g.s.must("show", job), "delete, done") })
	if left := parse[listed](t, g.s.must("messages", "--json")).Messages; len(left) != 0 {
		t.Errorf("%d messages are left", len(left))
	}
	for _, action := range []string{"pause", "redrive", "cancel", "replay", "resume", "delete", "start job"} {
		if !g.s.logged(`"logger":"relay.audit"`, `"action":"`+action+`"`, `"by":"127.0.0.1:`) {
			t.Errorf("%s is not in the audit log", action)
		}
	}
}

// TestOperatorCommandsSayWhatWentWrong looks at the exit codes and what is said.
func TestOperatorCommandsSayWhatWentWrong(t *testing.T) {
	t.Parallel()
	g := newDeadLetters(t, 1)
	at := []string{"--address", g.s.admin}
	off := filepath.Join(g.s.dir, "off")
	if err := os.WriteFile(off, []byte("{\n\tadmin off\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{append([]string{"show", "msg_00000000000000000000000000"}, at...), 1, "not found"},
		{append([]string{"redrive"}, at...), 1, "or say --all"},
		{append([]string{"replay"}, at...), 1, "name ids, or select"},
		{append([]string{"delete"}, at...), 1, "name ids, or select"},
		{append([]string{"delete", "--state", "open", "--source", "stripe"}, at...), 1, "so cancel it first"},
		{append([]string{"redrive", "msg_00000000000000000000000000"}, at...), 1, "no delivery"},
		{append([]string{"redrive", "msg_00000000000000000000000000/1", "--all"}, at...), 1, "not both"},
		{append([]string{"cancel", "--from", "soon"}, at...), 1, "write it as in 2026-03-01T12:00:00Z"},
		{append([]string{"pause", "stripe"}, at...), 1, "as in stripe:default"},
		{append([]string{"jobs", "stop", "job_1"}, at...), 1, "say pause, resume, cancel or delete"},
		{append([]string{"jobs", "pause", "job_1"}, at...), 1, "not found"},
		{append([]string{"jobs", "--state", "done"}, at...), 1, "unknown flag"},
		{append([]string{"secrets", "notion", "notion"}, at...), 1, "say source, scheme and name"},
		{append([]string{"secrets", "stripe", "stripe", "default"}, at...), 1, "only with admin_reveal"},
		{append([]string{"redrive", "--destination", "stripe:typo"}, at...), 1, "no such destination: there are stripe:default"},
		{append([]string{"show"}, at...), 1, "write caddy relay show <message>|<delivery>|<job>"},
		{[]string{"redirve"}, 1, `unknown command "redirve"`},
		{[]string{"stats", "--address", freeAddress(t)}, 2, "is Caddy running"},
		{[]string{"stats", "--address", "a:1-5"}, 1, "is no address"},
		{[]string{"stats", "--config", off, "--adapter", "caddyfile"}, 1, "turns the admin endpoint off"},
		{[]string{"stats", "--config", off + "x", "--adapter", "caddyfile"}, 1, "no such file"},
	} {
		if runtime.GOOS == "windows" && c.says == "no such file" {
			c.says = "cannot find"
		}
		if r := g.s.operate(c.args...); r.code != c.code || !strings.Contains(r.err, c.says) || r.out != "" {
			t.Errorf("caddy relay %v ends with %d and says %q%q, want %d and %q", c.args, r.code, r.out, r.err, c.code, c.says)
		}
	}
	if r := g.s.operate("stats", "--config", filepath.Join(g.s.dir, "Caddyfile")); r.code != 0 || !strings.Contains(r.out, "stripe:default") {
		t.Errorf("with --config: %+v", r)
	}
	g.s.mustLoad(g.s.plainfile(site(g.addr, "respond 404")))
	if r := g.s.operate(append([]string{"stats"}, at...)...); r.code != 2 || !strings.Contains(r.err, "the configuration that runs has no relay") {
		t.Errorf("without a relay: %+v", r)
	}
}

// TestUnixSocket has the admin endpoint listen where no other container of a pod can reach it. Its name is short because
// the path of a socket must be.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no unix sockets that Caddy can listen on with permissions")
	}
	s, u, addr := newServer(t), newUpstream(t), freeAddress(t)
	socket := "unix/" + t.TempDir() + "/admin.sock"
	config := strings.Replace(s.caddyfile(stripeSite(addr, u)), "admin "+s.admin, "admin "+socket+"|0600", 1)
	s.run(config, addr)
	for _, where := range [][]string{{"--address", socket}, {"--address", socket + "|0600"}, {"--config", filepath.Join(s.dir, "Caddyfile")}} {
		if r := s.operate(append([]string{"pause", "stripe:default"}, where...)...); r.code != 0 {
			t.Errorf("%v: %+v", where, r)
		}
	}
	if !s.logged(`"action":"pause"`, `"by":"unix socket"`) {
		t.Error("the audit log does not say where the action came from")
	}
	s.stop()
}

// TestOtherSitesCanNotOperate sends what a browser sends when a page of another site posts to the admin endpoint.
func TestOtherSitesCanNotOperate(t *testing.T) {
	t.Parallel()
	g := newDeadLetters(t, 1)
	for _, header := range []http.Header{
		{"Origin": {"https://evil.example"}},
		{"Origin": {"null"}},
		{"Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Site": {"cross-site"}},
		{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"cross-site"}},
		{"Host": {"evil.example"}},
	} {
		for _, path := range []string{"/relay/jobs", "/relay/destinations/stripe%3Adefault/pause"} {
			req, err := http.NewRequest(http.MethodPost, "http://"+g.s.admin+path, strings.NewReader(`{"action":"redrive"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = header.Clone()
			if req.Header.Get("Host") != "" {
				req.Host = req.Header.Get("Host")
			}
			req.Header.Set("Content-Type", "text/plain")
			resp, err := g.p.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%v to %s: %d", header, path, resp.StatusCode)
			}
		}
	}
	g.await("nothing has changed", func(l listed) bool { return l.Destinations[0].Dead == 1 && l.Destinations[0].State == "up" })
}

// TestP14_AJobGoesOnAfterAKill kills Caddy while it replays by query. After the restart the job goes on where it was:
// each message is replayed once, and the books balance.
func TestP14_AJobGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	const n = 300
	g := newDeadLetters(t, n)
	g.u.turn(well)
	started := parse[listed](t, g.s.must("replay", "--source", "stripe", "--rate", "200", "--json"))
	var crashes []crash
	config := g.s.caddyfile(stripeSite(g.addr, g.u, "retry off"))
	for _, enough := range []int{30, 150} {
		// With nothing open what was replayed last is delivered, and looks like what is still to be replayed.
		g.await("the job has come some way", func(l listed) bool {
			return l.Destinations[0].Open == 0 && parse[listed](t, string(g.s.adminGet("/relay/jobs/"+started.ID))).Done >= enough
		})
		c := g.s.kill()
		c.slack = time.Second
		crashes = append(crashes, c)
		g.s.run(config, g.addr)
	}
	eventually(t, 60*time.Second, "the job has ended", func() bool {
		return parse[listed](t, string(g.s.adminGet("/relay/jobs/"+started.ID))).State == "done"
	})
	g.await("all is delivered", func(l listed) bool { return l.Destinations[0].Open == 0 })
	g.s.stop()
	closeBooks(t, g.s, g.p, g.u, crashes...)
	made := 0
	for id, deliveries := range readStore(t, g.s.store).deliveries {
		made += len(deliveries)
		if len(deliveries) != 2 || deliveries[0].State != store.Dead || deliveries[1].State != store.Delivered {
			t.Errorf("%s has %s", id, fmt.Sprint(deliveries))
		}
	}
	if made != 2*n {
		t.Errorf("%d deliveries, want %d", made, 2*n)
	}
}

// TestOperatorsAreAnsweredDuringReloads asks for the stats while configurations come and go.
func TestOperatorsAreAnsweredDuringReloads(t *testing.T) {
	t.Parallel()
	g := newDeadLetters(t, 1)
	config := g.s.caddyfile(stripeSite(g.addr, g.u, "retry off"))
	for range 20 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.s.mustLoad(config)
		}()
		for over := false; !over; {
			if out := g.s.operate("stats", "--address", g.s.admin); out.code == 1 {
				t.Errorf("during a reload: %+v", out)
			}
			select {
			case <-done:
				over = true
			default:
			}
		}
	}
	g.await("the dead letter is still there", func(l listed) bool { return l.Destinations[0].Dead == 1 })
}
