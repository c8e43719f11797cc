// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-relay/caddy-relay/relay"
)

// memoryOptions are global options for a relay that keeps nothing.
const memoryOptions = "{\n\trelay {\n\t\tstore memory\n\t}\n}\n"

// references returns how many hold the engine of a store.
func references(key engineKey) int {
	n, _ := engines.References(key)
	return n
}

var memoryKey = engineKey{module: "relay.stores.memory"}

func TestTwoRelaysOfOneNameAreRefusedByBothLines(t *testing.T) {
	_, err := provision(t, memoryOptions+":0 {\n\trelay /a a:1 {\n\t\tname x\n\t}\n\trelay /b b:1 {\n\t\tname x\n\t}\n}\n")
	const want = "two relays are named 'x' (Caddyfile:7, Caddyfile:10): give one a name"
	const other = "two relays are named 'x' (Caddyfile:10, Caddyfile:7): give one a name"
	if err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), other) {
		t.Errorf("error %v", err)
	}
}

func TestTwinsOnTwoServersAreOneSource(t *testing.T) {
	t.Setenv("RELAY_SECRET", stripeSecret)
	r := start(t, memoryOptions+"http://x.test, https://x.test {\n\trelay /in a:1 {\n\t\tverify stripe {env.RELAY_SECRET}\n\t}\n}\n")
	if len(r.app.generation.Destinations) != 1 {
		t.Errorf("%d destinations", len(r.app.generation.Destinations))
	}
	if n := references(memoryKey); n != 3 {
		t.Errorf("%d references to the engine, want those of two relays and the app", n)
	}
}

func TestSameRelayOnTwoLinesIsOneSource(t *testing.T) {
	start(t, memoryOptions+":1 {\n\trelay /in a:1 {\n\t\tverify stripe "+stripeSecret+"\n\t}\n}\n:2 {\n\trelay /in a:1 {\n\t\tverify stripe "+stripeSecret+"\n\t}\n}\n")
}

func TestNestedRelayInJSONIsRefused(t *testing.T) {
	cfg := adapt(t, memoryOptions+":0 {\n\trelay /in a:1 {\n\t\tname x\n\t}\n}\n")
	nested := strings.Replace(string(cfg.AppsRaw["http"]), `"handler":"reverse_proxy"`, `"handler":"relay","forward":[{"handle":[{"handler":"static_response"}]}],"name":"y","methods":["POST"]`, 1)
	nested = strings.Replace(nested, `,"transport":{"keep_alive":{"max_idle_conns_per_host":512},"protocol":"http"},"upstreams":[{"dial":"a:1"}]`, "", 1)
	cfg.AppsRaw["http"] = json.RawMessage(nested)
	base, err := caddy.ProvisionContext(&caddy.Config{Logging: cfg.Logging})
	if err != nil {
		t.Fatal(err)
	}
	_ = base
	raw, _ := json.Marshal(cfg)
	if err := caddy.Validate(mustConfig(t, raw)); err == nil || !strings.Contains(err.Error(), errNested.Error()) {
		t.Errorf("error %v", err)
	}
}

func mustConfig(t *testing.T, raw []byte) *caddy.Config {
	t.Helper()
	cfg := new(caddy.Config)
	if err := json.Unmarshal(raw, cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestConfigurationThatIsOnlyCheckedLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	site := "{\n\trelay {\n\t\tstore pebble " + dir + "\n\t}\n}\n:0 {\n\trelay /in a:1\n}\n"
	running := start(t, site)
	key := running.app.key
	before := references(key)
	for range 3 {
		r, err := provision(t, site)
		if err != nil {
			t.Fatal(err)
		}
		if references(key) != before+2 {
			t.Errorf("%d references while checked", references(key))
		}
		r.stop()
	}
	if references(key) != before {
		t.Errorf("%d references, before %d", references(key), before)
	}
	if _, err := provision(t, "{\n\trelay {\n\t\tstore pebble "+dir+"\n\t}\n}\n:0 {\n\trelay /in a:1 {\n\t\tverify stripe {env.RELAY_UNSET}\n\t}\n}\n"); err == nil {
		t.Error("an unset secret is taken")
	}
}

func TestDefaultsOfAGeneration(t *testing.T) {
	r := start(t, memoryOptions+":0 {\n\trelay /in a:1 {\n\t\tmax_size 60MiB\n\t}\n}\n")
	g := r.app.generation
	if g.Retention != defaultRetention || g.RetentionDead != 0 || g.DedupeWindow != defaultWindow {
		t.Errorf("generation %+v", g)
	}
	if g.MaxBuffer != 2*(60<<20+bodyStep) {
		t.Errorf("max_buffer %d with bodies of 60 MiB", g.MaxBuffer)
	}
	d := g.Destinations[0]
	if d.ID != "in:default" || d.Timeout != relay.DefaultTimeout || d.MaxInFlight != relay.DefaultMaxInFlight || d.Retry.Policy == nil {
		t.Errorf("destination %+v", d)
	}
}

func TestPolicyIsInherited(t *testing.T) {
	r := start(t, memoryOptions+":0 {\n\trelay /in {\n\t\ttimeout 5s\n\t\tmax_in_flight 3\n\t\tretry fixed 7s never\n\t\trate_limit 10 1m\n"+
		"\t\tdestination a {\n\t\t\tforward a:1\n\t\t}\n\t\tdestination b {\n\t\t\ttimeout 6s\n\t\t\tretry off\n\t\t\trate_limit off\n\t\t\tforward b:1\n\t\t}\n\t}\n}\n")
	for _, d := range r.app.generation.Destinations {
		got := fmt.Sprintf("%s %s %d %v %v", d.ID, d.Timeout, d.MaxInFlight, d.Retry.Policy, d.Rate)
		want := map[string]string{"in:a": "in:a 5s 3 {7s 0s} {10 1m0s}", "in:b": "in:b 6s 3 [] {0 0s}"}[d.ID]
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestOrphansAreNamedAndKept(t *testing.T) {
	dir := t.TempDir()
	site := func(name string) string {
		return "{\n\trelay {\n\t\tstore pebble " + dir + "\n\t}\n}\n:0 {\n\trelay /in " + deadAddr(t) + " {\n\t\tname " + name + "\n\t}\n}\n"
	}
	before := start(t, site("old"))
	if w := serve(t, before.relay["old"], post("/in", "x")); w.Code != 200 {
		t.Fatalf("answered %d", w.Code)
	}
	before.stop()
	after := start(t, site("new"))
	if !logged("deliveries wait for a destination that is not in the configuration") || !logged(`destination="old:default"`) {
		t.Error("the orphan is not named")
	}
	after.stop()
	start(t, site("old"))
	if logged("deliveries wait for a destination that is not in the configuration") {
		t.Error("a destination that is back is taken for an orphan")
	}
}

// load runs a configuration with listeners, in place of the one that runs.
func load(t *testing.T, text string) error {
	t.Helper()
	raw, err := json.Marshal(adapt(t, text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	return caddy.Load(raw, true)
}

// address is where the first server of the configuration that runs listens.
func address(t *testing.T) string {
	t.Helper()
	module, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range module.(*caddyhttp.App).Servers {
		for _, l := range server.Listeners() {
			return "http://" + l.Addr().String()
		}
	}
	t.Fatal("nothing listens")
	return ""
}

// sendTo posts a body and returns the status.
func sendTo(t *testing.T, url, body string) int {
	t.Helper()
	response, err := http.Post(url, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !so(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

const plainSite = "http://127.0.0.1:0 {\n\tbind 127.0.0.1\n\trelay /in %s {\n\t\tretry fixed 50ms\n\t}\n\trespond 404\n}\n"

func TestP12_ReloadKeepsTheEngineAndTheMetrics(t *testing.T) {
	app := newUpstream(t, nil)
	site := memoryOptions + fmt.Sprintf(plainSite, app.addr())
	if err := load(t, site); err != nil {
		t.Fatal(err)
	}
	if status := sendTo(t, address(t)+"/in", "1"); status != 200 {
		t.Fatalf("answered %d", status)
	}
	<-app.got
	engine := activeEngine(t)
	eventually(t, "the attempt is recorded", func() bool {
		books, err := engine.Books(t.Context())
		return err == nil && books["in:default"].Delivered > 0
	})
	first := accepted(t)
	if err := load(t, site); err != nil {
		t.Fatal(err)
	}
	if activeEngine(t) != engine {
		t.Error("the reload has made another engine")
	}
	if n := references(memoryKey); n != 2 {
		t.Errorf("%d references to the engine after a reload", n)
	}
	sendTo(t, address(t)+"/in", "2")
	<-app.got
	if second := accepted(t); second != first+1 {
		t.Errorf("%g requests counted before and %g after the reload", first, second)
	}
}

// activeEngine is the engine of the configuration that runs.
func activeEngine(t *testing.T) *pooledEngine {
	t.Helper()
	app, err := caddy.ActiveContext().AppIfConfigured("relay")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App).engine
}

// accepted reads a counter from the registry of the configuration that runs.
func accepted(t *testing.T) float64 {
	t.Helper()
	ctx := caddy.ActiveContext()
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	names := make(map[string]bool)
	for _, family := range families {
		names[family.GetName()] = true
		if family.GetName() != "caddy_relay_requests_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "outcome" && label.GetValue() == "accepted" {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	for _, name := range []string{
		"caddy_relay_requests_total", "caddy_relay_attempts_total", "caddy_relay_attempt_duration_seconds", "caddy_relay_deliveries",
		"caddy_relay_slots", "caddy_relay_running_attempts", "caddy_relay_destination_down", "caddy_relay_destination_paused",
	} {
		if !names[name] {
			t.Errorf("no metric %s", name)
		}
	}
	return sum
}

func TestMetricsOfOthersAreNotTakenForOurs(t *testing.T) {
	registry := prometheus.NewRegistry()
	if err := registerMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if err := registerMetrics(registry); err != nil {
		t.Errorf("registering again: %v", err)
	}
	taken := prometheus.NewRegistry()
	taken.MustRegister(prometheus.NewCounterVec(prometheus.CounterOpts{Name: "caddy_relay_requests_total", Help: "Requests by what became of them."}, []string{"source", "outcome"}))
	if err := registerMetrics(taken); err == nil {
		t.Error("a counter of somebody else is taken for ours")
	}
}

func TestReloadThatFailsLeavesTheOldConfigurationInForce(t *testing.T) {
	app := newUpstream(t, nil)
	if err := load(t, memoryOptions+fmt.Sprintf(plainSite, app.addr())); err != nil {
		t.Fatal(err)
	}
	url := address(t)
	busy := newUpstream(t, nil)
	_, port, _ := strings.Cut(busy.addr(), ":")
	// The listener is taken, so that whichever app starts first, the other has to
	// be stopped again.
	failing := memoryOptions + strings.Replace(fmt.Sprintf(plainSite, "nowhere:1"), ":0", ":"+port, 1)
	for range 10 {
		if err := load(t, failing); err == nil {
			t.Fatal("the configuration was loaded")
		}
	}
	if status := sendTo(t, url+"/in", "still here"); status != 200 {
		t.Errorf("answered %d", status)
	}
	if got := <-app.got; string(got.body) != "still here" {
		t.Errorf("delivered %s", got.body)
	}
	if n := references(memoryKey); n != 2 {
		t.Errorf("%d references to the engine", n)
	}
}

func TestReloadToAnotherStoreFinishesWhatTheFormerHolds(t *testing.T) {
	ready := make(chan struct{})
	app := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-ready:
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	site := func(dir string) string {
		return "{\n\trelay {\n\t\tstore pebble " + dir + "\n\t}\n}\n" + fmt.Sprintf(plainSite, app.addr())
	}
	former, next := t.TempDir(), t.TempDir()
	if err := load(t, site(former)); err != nil {
		t.Fatal(err)
	}
	if status := sendTo(t, address(t)+"/in", "former"); status != 200 {
		t.Fatalf("answered %d", status)
	}
	key := activeEngine(t).key
	if err := load(t, site(next)); err != nil {
		t.Fatal(err)
	}
	if activeEngine(t).key == key {
		t.Fatal("the store is the same")
	}
	eventually(t, "the log says that the former store stays open", func() bool { return logged("the former one stays open") })
	if references(key) != 1 {
		t.Errorf("%d references to the former engine", references(key))
	}
	close(ready)
	eventually(t, "the former store is closed", func() bool { return references(key) == 0 })
	if !logged("all deliveries of the former store that this configuration can make are done") {
		t.Error("the end of the former store is not logged")
	}
}

func TestStoreThatCanNotBeOpenedSaysWhy(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := load(t, "{\n\trelay {\n\t\tstore pebble "+file+"/below\n\t}\n}\n"+fmt.Sprintf(plainSite, "a:1"))
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v", err)
	}
}

func TestWarningsAtLoad(t *testing.T) {
	t.Setenv("RELAY_SECRET", stripeSecret)
	args := os.Args
	defer func() { os.Args = args }()
	os.Args = []string{"caddy", "run", "--environ"}
	start(t, memoryOptions+":0 {\n\trelay /a a:1\n\trelay /b a:1 {\n\t\tverify stripe short\n\t}\n\trelay /c a:1 {\n\t\tverify stripe {env.RELAY_SECRET}\n\t}\n\trelay /d a:1 {\n\t\tverify stripe {env.RELAY_SECRET}\n\t}\n\trelay /e a:1 {\n\t\tverify hmac {env.RELAY_SECRET} {\n\t\t\theader X-Sig\n\t\t}\n\t}\n}\n")
	for text, want := range map[string]int{
		"relay verifies nothing":                                   1,
		"duplicates are not looked for":                            2,
		"secret is written out in the configuration":               1,
		"secret is shorter than 16 bytes":                          1,
		"this process prints its environment at start (--environ)": 1,
	} {
		if got := logs().FilterMessageSnippet(text).Len(); got != want {
			t.Errorf("%q is logged %d times, want %d", text, got, want)
		}
	}
	if logged(stripeSecret) || logged("short\"") {
		t.Error("a secret is logged")
	}
}
