// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// testCore is a logging core module that keeps what is logged in a test.
type testCore struct{ zapcore.Core }

var (
	observedMu sync.Mutex
	observed   *observer.ObservedLogs
)

func (*testCore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.cores.relay_test", New: func() caddy.Module {
		core, logs := observer.New(zapcore.InfoLevel)
		observedMu.Lock()
		defer observedMu.Unlock()
		observed = logs
		return &testCore{core}
	}}
}

func init() { caddy.RegisterModule(new(testCore)) }

// logs returns what the configuration that was loaded last has logged.
func logs() *observer.ObservedLogs {
	observedMu.Lock()
	defer observedMu.Unlock()
	return observed
}

// logged reports whether a line holds the text, fields included.
func logged(text string) bool {
	for _, entry := range logs().All() {
		line := entry.Message
		for k, v := range entry.ContextMap() {
			b, _ := json.Marshal(v)
			line += " " + k + "=" + string(b)
		}
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

const testLogging = `{"logs":{"default":{"core":{"module":"relay_test"},"writer":{"output":"discard"}}}}`

// adapt turns a Caddyfile into a configuration that logs into the test and has no
// admin endpoint.
func adapt(t testing.TB, text string) *caddy.Config {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("adapting: %v", err)
	}
	cfg := new(caddy.Config)
	if err := json.Unmarshal(adapted, cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Logging = nil
	_ = json.Unmarshal([]byte(testLogging), &cfg.Logging)
	noPersist := false
	cfg.Admin = &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &noPersist}}
	return cfg
}

// running is a configuration that is provisioned, and whose relay app is started.
type running struct {
	ctx   caddy.Context
	app   *App
	relay map[string]*Handler
	stop  func()
}

// provision provisions a Caddyfile without starting it. The test cleans it up.
func provision(t testing.TB, text string) (*running, error) {
	t.Helper()
	return provisionConfig(t, adapt(t, text))
}

// provisionConfig is provision for what has been adapted.
func provisionConfig(t testing.TB, cfg *caddy.Config) (*running, error) {
	t.Helper()
	apps := cfg.AppsRaw
	cfg.AppsRaw = nil
	base, err := caddy.ProvisionContext(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.AppsRaw = apps
	ctx, cancel := caddy.NewContext(base)
	stop := sync.OnceFunc(cancel)
	t.Cleanup(stop)
	r := &running{ctx: ctx, relay: make(map[string]*Handler), stop: stop}
	module, err := ctx.App("http")
	if err != nil {
		return r, err
	}
	for _, server := range module.(*caddyhttp.App).Servers {
		walk(server.Routes, nil, true, func(_ caddyhttp.Route, h caddyhttp.MiddlewareHandler, _ bool) {
			if handler, ok := h.(*Handler); ok {
				r.relay[handler.Name] = handler
			}
		})
	}
	app, err := ctx.App("relay")
	if err == nil {
		r.app = app.(*App)
	}
	return r, err
}

// start provisions a Caddyfile and starts its relay app, without any listener.
func start(t testing.TB, text string) *running {
	t.Helper()
	r, err := provision(t, text)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.app.Start(); err != nil {
		t.Fatal(err)
	}
	cancel := r.stop
	r.stop = sync.OnceFunc(func() {
		if err := r.app.Stop(); err != nil {
			t.Error(err)
		}
		cancel()
	})
	t.Cleanup(r.stop)
	return r
}

// serve sends a request to a handler as Caddy's server does.
func serve(t testing.TB, h caddyhttp.MiddlewareHandler, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	return serveNext(t, h, r, failingNext(t))
}

// serveNext is serve with a next handler.
func serveNext(t testing.TB, h caddyhttp.MiddlewareHandler, r *http.Request, next caddyhttp.HandlerFunc) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
	if err := h.ServeHTTP(w, r, next); err != nil {
		t.Fatalf("the handler returned an error, which would run handle_errors: %v", err)
	}
	return w
}

// failingNext is a next handler that nothing may reach.
func failingNext(t testing.TB) caddyhttp.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) error {
		t.Error("the request has reached the next handler")
		return nil
	}
}

// post makes a request with a body.
func post(path, body string) *http.Request { return request(http.MethodPost, path, body) }

// request makes a request.
func request(method, path, body string) *http.Request {
	return httptest.NewRequest(method, path, strings.NewReader(body))
}

// upstream is an app that takes deliveries.
type upstream struct {
	*httptest.Server
	got chan delivered
}

// delivered is a request as the app got it.
type delivered struct {
	request *http.Request
	body    []byte
}

// newUpstream starts an app. A nil handler answers 200.
func newUpstream(t testing.TB, handler http.HandlerFunc) *upstream {
	t.Helper()
	u := &upstream{got: make(chan delivered, 100)}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		u.got <- delivered{r.Clone(context.WithoutCancel(r.Context())), body.Bytes()}
		if handler != nil {
			handler(w, r)
		}
	}))
	t.Cleanup(u.Close)
	return u
}

// addr is host and port of the app.
func (u *upstream) addr() string { return strings.TrimPrefix(u.URL, "http://") }

// deadAddr is an address where nobody listens.
func deadAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// counted returns the value of a counter.
func counted(c prometheus.Counter) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		return -1
	}
	return m.GetCounter().GetValue()
}

// tryLoad returns the error of adapting or provisioning a Caddyfile.
func tryLoad(t testing.TB, text string) error {
	t.Helper()
	if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"}); err != nil {
		return err
	}
	_, err := provision(t, text)
	return err
}
