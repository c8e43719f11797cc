// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/caddy-relay/caddy-relay/relay/store"
	"github.com/caddy-relay/caddy-relay/relay/store/pebble"
)

// onDisk starts an engine on a store in dir, with one destination.
func onDisk(t *testing.T, dir string, answer func(ctx context.Context, a Attempt) Result) *Engine {
	t.Helper()
	e := New(Options{Open: func(context.Context) (store.Store, error) { return pebble.Open(dir, pebble.Options{}) }})
	e.Attach(&Generation{Destinations: []Destination{{ID: "d", Deliverer: &upstream{answer: answer}}}})
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e
}

// acceptNumber has a message accepted whose body is a number.
func acceptNumber(t *testing.T, e *Engine, n int) Receipt {
	t.Helper()
	body := fmt.Sprint(n)
	r := &rig{Engine: e, t: t}
	receipt, err := e.Accept(t.Context(), r.inbound(body))
	if err != nil {
		t.Errorf("accepting %s: %v", body, err)
	}
	return receipt
}

// acceptMany has so many of them accepted by several senders at once, and returns their ids by number.
func acceptMany(t *testing.T, e *Engine, messages int) []store.MessageID {
	t.Helper()
	const senders = 16
	var group sync.WaitGroup
	ids := make([]store.MessageID, messages)
	for sender := range senders {
		group.Go(func() {
			for n := sender; n < messages; n += senders {
				ids[n] = acceptNumber(t, e, n).ID
			}
		})
	}
	group.Wait()
	return ids
}

func TestP1_P3_AcceptedMessagesOutliveARestartOnDisk(t *testing.T) {
	const messages = 2 * readyWindow
	dir := t.TempDir()
	e := onDisk(t, dir, hangs)
	ids := acceptMany(t, e, messages)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if used := e.Budget().Used(); used != 0 {
		t.Errorf("%d bytes are still taken", used)
	}

	delivered := make(chan string, 2*messages)
	e = onDisk(t, dir, func(ctx context.Context, a Attempt) Result {
		delivered <- string(a.Message.Request.Body)
		return succeeds(ctx, a)
	})
	seen := make(map[string]bool)
	for len(seen) < messages {
		body := <-delivered
		if seen[body] {
			t.Fatalf("message %s was delivered twice", body)
		}
		seen[body] = true
	}
	for _, i := range []int{0, messages / 2, messages - 1} {
		if receipt := acceptNumber(t, e, i); receipt.Verdict == store.Fresh || receipt.ID != ids[i] {
			t.Errorf("a duplicate after the restart is %+v, want %s", receipt, ids[i])
		}
	}
	acceptNumber(t, e, messages)
	if body := <-delivered; body != fmt.Sprint(messages) {
		t.Errorf("message %s was delivered twice", body)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	e = onDisk(t, dir, nil)
	books, err := e.Books(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := (store.Books{Made: messages + 1, Delivered: messages + 1}); books["d"] != want {
		t.Errorf("books are %+v, want %+v", books["d"], want)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
