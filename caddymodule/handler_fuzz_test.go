// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

func FuzzF15_Only2xxIsStored(f *testing.F) {
	f.Add("POST", "/in", `{"id":"evt_1"}`, "", true, false)
	f.Add("POST", "/in?x=%zz", ``, "t=1,v1=00", false, true)
	f.Add("PUT", "/in", `x`, "t=1,t=2,v1=,v1=", false, false)
	f.Add("POST", "//in/..", "\x00\xff", "v1", true, true)
	f.Add("POST", "/in", strings.Repeat("x", 2000), "", true, true)
	app := newUpstream(f, nil)
	app.got = make(chan delivered, 1<<20)
	h, r := relayOf(f, app, "dedupe off", "max_size 1KiB")
	f.Fuzz(func(t *testing.T, method, path, body, signature string, sign, chunked bool) {
		if !httpguts.ValidHeaderFieldName(method) || !httpguts.ValidHeaderFieldValue(signature) || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \x00\r\n\x7f") {
			return
		}
		request, err := http.NewRequest(method, "http://x.test"+path, strings.NewReader(body))
		if err != nil {
			return
		}
		request.RequestURI, request.RemoteAddr = request.URL.RequestURI(), "192.0.2.1:1"
		request.Header.Set("Stripe-Signature", signature)
		if sign {
			stripe(request, body, stripeSecret, time.Now())
		}
		if chunked {
			request.ContentLength = -1
		}
		before := made(t, r)
		w := serve(t, h, request)
		stored := made(t, r) - before
		if ok := w.Code >= 200 && w.Code < 300; ok != (stored == 1) {
			t.Fatalf("answered %d with %d messages stored", w.Code, stored)
		}
		if stored == 0 {
			return
		}
		if !sign || len(body) > 1<<10 || method != http.MethodPost {
			t.Fatalf("accepted %s %q with signature %q", method, body, signature)
		}
		checkStored(t, r, body)
	})
}

// made counts the deliveries that were ever made.
func made(t *testing.T, r *running) uint64 {
	t.Helper()
	books, err := r.app.engine.Books(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return books["in:default"].Made
}

// checkStored compares the newest message with what was sent.
func checkStored(t *testing.T, r *running, body string) {
	t.Helper()
	st, err := r.app.engine.Store()
	if err != nil {
		t.Fatal(err)
	}
	newest, err := st.ListMessages(t.Context(), store.MessageQuery{Limit: 1})
	if err != nil || len(newest) != 1 {
		t.Fatalf("%d messages, %v", len(newest), err)
	}
	m, err := st.Message(t.Context(), newest[0].ID)
	if err != nil || !bytes.Equal(m.Request.Body, []byte(body)) || !m.Intact() {
		t.Fatalf("stored %q, %v; sent %q", m.Request.Body, err, body)
	}
}

func FuzzF11_Caddyfile(f *testing.F) {
	for _, seed := range []string{
		"name a", "verify stripe x", "verify hmac x {\nheader A\n}", "dedupe {http.relay.body.id} 1h", "events a.*",
		"retry exponential 1s 2s 3s {\nattempts 1\n}", "forward a:1", "forward {\nrespond 200\n}",
		"destination a {\nforward b:1\n}", "respond 200 {", "max_size 1\"", "verify \\\n stripe", "drop_header {$X}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, block string) {
		depth := 0
		for _, r := range block {
			switch r {
			case '{':
				depth++
			case '}':
				depth--
			}
			if depth < 0 {
				return // it would end the relay and begin something else
			}
		}
		text := memoryOptions + ":0 {\n\trelay /in {\n" + block + "\n\t}\n}\n"
		if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil); err != nil {
			return
		}
		r, err := provision(t, text)
		r.stop()
		if err != nil {
			return
		}
		if len(r.relay) == 0 {
			t.Fatal("there is no relay")
		}
	})
}
